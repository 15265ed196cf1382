"""What one run is: a method and its options, a task, training settings and a seed."""

import hashlib
from collections.abc import Mapping

from pydantic import Field, JsonValue, model_validator

from stepcli.probe.config.task import MULTI_LABEL, TaskConfig
from stepcli.probe.config.training import DataConfig, OptimConfig
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.errors import UsageError
from stepcli.runtime.settings import FrozenConfig, JsonObject

CODE_SCHEMA = 2
"""Raised whenever the same config would train another probe, so that old runs are not reused."""


NAME_DIGITS = 6
"""Of the hash in a run's name; two runs of one name get all digits."""


def without_paths(config: Mapping[str, JsonValue]) -> JsonObject:
    """A run's config, as JSON has it, with files named by their digests alone.

    The class of an own probe stays, since one file may hold several.
    """
    found = dict(config)
    options, task = found.get("options"), found.get("task")  # of a run that may come from anybody
    if isinstance(options, Mapping) and options.get("sha256"):
        found["method"] = str(found.get("method")).rpartition(":")[2]
    if isinstance(task, Mapping) and task.get("split_digest"):
        found["task"] = {**task, "split_file": None}
    return found


class RunConfig(FrozenConfig):
    """Everything that determines a run's result, given the store's tokens."""

    method: str
    options: JsonObject
    """Every option of the method, defaults written out."""
    task: TaskConfig = TaskConfig()
    recipe: OptimConfig = OptimConfig()
    shared: DataConfig = DataConfig()
    seed: int = Field(default=0, ge=0)
    """Initial values of the probe."""

    @model_validator(mode="after")
    def _classes_are_weighted_by_one_label(self) -> "RunConfig":
        for name in ("class_balance", "logit_adjust"):
            if self.task.name == MULTI_LABEL and getattr(self.recipe, name):
                raise UsageError(
                    f"{name} weights classes by the one label of each clip, --task {MULTI_LABEL} "
                    "has any number: leave it out"
                )
        return self

    def run_id(self, fingerprint: str) -> str:
        """Identity of the run: its method, and a hash of config, tokens and code schema.

        Earlier versions named the run's folder by it.

        Files are part of it by their digests, not by their paths: a split file or an own probe that
        was moved gives the same run.

        Args:
            fingerprint: Of the tokens, and of the texts where the method reads some.
        """
        return self._run_id(without_paths(self.model_dump(mode="json")), fingerprint)

    def run_name(self, run_id: str, digits: int = NAME_DIGITS) -> str:
        """Readable name of the run's folder, e.g. step-arrow-s0-65a073.

        Runs on one of several official splits have -split1 before the digits, runs on held-out
        slices and folds of train -slice or -fold0.

        Args:
            run_id: From `run_id` of this config.
            digits: Of the hash.
        """
        method, _, digest = run_id.rpartition("-")
        task = self.task
        held = "" if task.slice_seed is None else f"-fold{task.fold}" if task.folds else "-slice"
        split = "" if task.split is None else f"-split{task.split}"
        return f"{method}-{task.name}-s{self.seed}{split}{held}-{digest[:digits]}"

    def earlier_run_id(self, fingerprint: str) -> str:
        """The name that versions gave which hashed paths too; `run_id`'s where there is no path."""
        return self._run_id(self.model_dump(mode="json"), fingerprint)

    def _run_id(self, config: JsonObject, fingerprint: str) -> str:
        identity = {
            "config": config,
            "fingerprint": fingerprint,
            "code_schema": CODE_SCHEMA,
        }
        digest = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
        readable = "".join(c if c.isalnum() or c == "-" else "-" for c in str(config["method"]))
        return f"{readable}-{digest[:16]}"
