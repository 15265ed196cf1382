"""Text embeddings that extraction stored beside the tokens: labels, units, and the way to them.

A store holds, in text/<tower>/, text.json (what was embedded, and which tensors belong to it) and
a file of those tensors: see stepcli.extract.pipeline.text_embeddings, which makes them, and
stepcli.cache.tables.texts, which keeps them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from stepcli.cache.storage.path import Location, StoragePath
from stepcli.cache.storage.places import place_of
from stepcli.cache.tables.texts import FACTS, OLD_TENSORS, read_tensors, read_text, text_folders
from stepcli.runtime.errors import DamagedStore, UsageError

PROJECTION = "cls_projection"
NEEDED = ("labels", "label_lengths", "templates", "logit_scale")


@dataclass(frozen=True)
class StoreText:
    """One tower's texts. Two are equal when their tensors are, wherever they lie."""

    sha256: str
    """Of the file of tensors."""
    folder: StoragePath = field(compare=False)
    tower: str = field(compare=False)
    classes: tuple[str, ...] = field(compare=False)
    """Names of the classes that `labels` are of."""
    units: tuple[str, ...] = field(compare=False)
    """Semantic units as they were embedded."""
    file: str = field(compare=False, default=OLD_TENSORS)
    """Name of the file of tensors."""

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that the file of tensors holds.

        Raises:
            DamagedStore: its bytes are not those that were written.
        """
        path = self.folder / self.file
        data = read_tensors(self.folder, self.file, self.sha256)
        try:
            tensors: dict[str, Tensor] = load(data)
        except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise DamagedStore(f"{path}: not a safetensors file ({error})") from None
        wrong = [name for name in NEEDED if name not in tensors]
        wrong += [name for name, tensor in tensors.items() if not self._fits(name, tensor, tensors)]
        if wrong:
            raise DamagedStore(
                f"{path}: {', '.join(wrong)}: missing, or of another shape or type than "
                f"{len(self.classes)} classes need; embed the texts again: extract --text on the "
                "same store"
            )
        return tensors

    def _fits(self, name: str, tensor: Tensor, beside: dict[str, Tensor]) -> bool:
        """Whether a tensor is what its name says; those without meaning here are left alone."""
        classes = len(self.classes)
        dim, width = (
            beside[of].shape[-1] if of in beside and beside[of].ndim else 0
            for of in ("labels", PROJECTION)
        )
        shapes: dict[str, tuple[int | None, ...]] = {
            "labels": (classes, dim),
            "label_lengths": (classes,),
            "templates": (classes, None, dim),
            "units": (len(self.units), dim),
            PROJECTION: (dim, width),
            "cls_norm.weight": (width,),
            "cls_norm.bias": (width,),
        }
        if name == "logit_scale":
            return tensor.numel() == 1 and tensor.is_floating_point()
        if name not in shapes:
            return True
        wanted = shapes[name]
        same = tensor.ndim == len(wanted) and all(
            n in (None, found) for n, found in zip(wanted, tensor.shape, strict=True)
        )
        whole = PROJECTION not in name or {"cls_norm.weight", "cls_norm.bias"} <= beside.keys()
        return same and whole and tensor.is_floating_point()

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


def stored_texts(store: Location) -> tuple[StoreText, ...]:
    """What a store, or a trained probe, at that place holds of text towers.

    Raises:
        DamagedStore: a text.json that is none, or a link.
    """
    root = place_of(store)
    found = []
    for tower in text_folders(root):
        text = read_text(root, tower)
        path = root / "text" / tower / FACTS
        facts = {**text.facts, "sha256": text.sha256}
        names = {key: facts.get(key) for key in ("classes", "units")}
        for key, kind in (("sha256", str), ("tower", str), ("classes", list), ("units", list)):
            if not isinstance(facts.get(key), kind):
                raise DamagedStore(f"{path}: {key} is {facts.get(key)!r:.60}; extract --text again")
        if not all(isinstance(text, str) for texts in names.values() for text in texts or ()):
            raise DamagedStore(f"{path}: classes and units must be texts; extract --text again")
        found.append(
            StoreText(
                sha256=facts["sha256"],
                folder=root / "text" / tower,
                file=text.file,
                tower=facts["tower"],
                classes=tuple(facts["classes"]),
                units=tuple(facts["units"]),
            )
        )
    return tuple(found)
