"""YAML files that a user gives: plain data, bounded, without aliases or keys given twice."""

from pathlib import Path
from typing import Any

import yaml

from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import read_regular

LARGEST = 1 << 20
"""Bytes of a file."""


class _PlainLoader(yaml.SafeLoader):
    """Plain data without aliases: a few, each of several others, spell out more than fits."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, which must be written out."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name); write out what it stands for")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys differ: YAML's parser would keep the last value alone."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(f"{key.value!r} is given twice, again in line {line}")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml_fields(path: Path, example: str) -> dict[Any, Any]:
    """The fields of a YAML file.

    Args:
        path: of the file.
        example: a field that it may have, for the message.

    Raises:
        UsageError: it cannot be read, or holds something else than fields.
    """
    try:
        content = yaml.load(read_regular(path.resolve(), LARGEST), _PlainLoader)
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, ArithmeticError, RecursionError) as error:
        reason = str(error)
    except (yaml.YAMLError, DamagedStore) as error:
        reason = " ".join(str(error).split())
    else:
        reason = ""
    if reason:
        raise UsageError(f"{path}: expected a YAML file, got: {reason}")
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected fields such as {example}, got {content!r:.60}")
    return content
