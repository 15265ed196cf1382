"""Text embeddings that extraction stored beside the tokens: labels, units, and the way to them.

A store holds, in text/<tower>/, text.json (what was embedded, and the digest of the tensors) and
text.safetensors (see stepcli.extract.text, which writes them).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from safetensors.torch import load
from torch import Tensor

from stepcli.cache.errors import DamagedStore, UsageError


@dataclass(frozen=True)
class StoreText:
    """One tower's texts. Two are equal when their tensors are, wherever they lie."""

    sha256: str
    """Of text.safetensors."""
    folder: Path = field(compare=False)
    tower: str = field(compare=False)
    classes: tuple[str, ...] = field(compare=False)
    """Names of the classes that `labels` are of."""
    units: tuple[str, ...] = field(compare=False)
    """Semantic units as they were embedded."""

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that text.safetensors holds.

        Raises:
            DamagedStore: its bytes are not those that were written.
        """
        path = self.folder / "text.safetensors"
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise DamagedStore(
                f"{path}: its digest is not the one in text.json; embed the texts again: "
                "extract --text on the same store"
            )
        tensors: dict[str, Tensor] = load(data)
        return tensors

    @property
    def dim(self) -> int:
        """Channels of an embedding."""
        return int(self.tensors["labels"].shape[1])

    def labels(self, classes: Sequence[str]) -> Tensor:
        """Embeddings of these classes' labels, unit length: [C, D].

        Raises:
            UsageError: a class was not embedded.
        """
        return self.tensors["labels"][self._rows(classes)]

    def label_lengths(self, classes: Sequence[str]) -> Tensor:
        """Lengths that the labels' embeddings had before they were made unit length: [C]."""
        return self.tensors["label_lengths"][self._rows(classes)]

    def templates(self, classes: Sequence[str]) -> Tensor:
        """Embeddings of these classes' labels in each prompt, unit length: [C, P, D]."""
        return self.tensors["templates"][self._rows(classes)]

    def _rows(self, classes: Sequence[str]) -> list[int]:
        rows = {name: row for row, name in enumerate(self.classes)}
        for name in classes:
            if name not in rows:
                raise UsageError(
                    f"{self.folder}: there is no text embedding of class {name!r}; embed anew with "
                    "extract --text, after the store's classes have changed"
                )
        return [rows[name] for name in classes]

    def unit_embeddings(self) -> Tensor:
        """Embeddings of the semantic units, unit length: [U, D].

        Raises:
            UsageError: none were embedded.
        """
        if "units" not in self.tensors:
            raise UsageError(
                f"{self.folder}: no semantic units were embedded; extract again on the same store "
                "with --text and --units FILE"
            )
        return self.tensors["units"]


def stored_texts(store: object) -> tuple[StoreText, ...]:
    """What a store at that place holds of text towers; none where it is not on a disk.

    Raises:
        DamagedStore: a text.json that is none.
    """
    if not isinstance(store, Path):
        return ()
    found = []
    for path in sorted((store / "text").glob("*/text.json")):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            found.append(
                StoreText(
                    sha256=str(facts["sha256"]),
                    folder=path.parent,
                    tower=str(facts["tower"]),
                    classes=tuple(facts["classes"]),
                    units=tuple(facts["units"]),
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedStore(f"{path} is not what extract --text writes ({error!r})") from None
    return tuple(found)
