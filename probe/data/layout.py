"""Shape and meaning of one clip's tokens: how many, of which kind, beside which texts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stepcli.cache.schema.spec import Segment
from stepcli.runtime.errors import UsageError

if TYPE_CHECKING:
    from stepcli.probe.data.text import StoreText

Select = Literal["all", "patches", "cls"]
JOINED = "twins"
"""Name of the segment of tokens that --task twins joins from two frames."""


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """Shape and meaning of one clip's tokens [T, S, D]."""

    frames: int
    """T, the time steps that a probe sees (fewer than stored where clips are cropped in time)."""
    dim: int
    """D, channels."""
    segments: tuple[Segment, ...]
    """The S tokens of a frame by name, in stored order."""
    layers: tuple[int, ...] = (-1,)
    """Which of the backbone's layers are there, as it counts them from its end."""
    classes: tuple[str, ...] = ()
    """Names of the classes, by index; empty where they have no names."""
    texts: "tuple[StoreText, ...]" = ()
    """What is stored of text towers, their tensors unread."""

    @classmethod
    def of(cls, frames: int, tokens: int, dim: int) -> "TokenLayout":
        """A layout of `tokens` patches in one row, where nothing else is known about them."""
        row = Segment(name="patches", kind="grid", count=tokens, grid=(1, tokens))
        return cls(frames, dim, (row,))

    @property
    def tokens(self) -> int:
        """S, the tokens of one frame."""
        return sum(segment.count for segment in self.segments)

    def positions(self, select: Select) -> slice | list[int]:
        """Which of the S tokens a selection names; the backbone's CLS is its first prefix token.

        Raises:
            UsageError: the store holds no such token.
        """
        if select == "all":
            return slice(None)
        start, found = 0, list[int]()
        for segment in self.segments:
            here = range(start, start + segment.count)
            start += segment.count
            if select == "patches" and segment.kind == "grid":
                found += here
            elif select == "cls" and segment.kind == "prefix" and not found:
                found.append(here[0])
        if not found and any(segment.name == JOINED for segment in self.segments):
            raise UsageError(
                f"tokens={select} is not available with --task twins, which joins and shuffles all "
                "tokens of two frames; leave tokens= out, or, to read the CLS alone, extract "
                "another store that holds nothing else: --tokens cls --store FOLDER"
            )
        if not found:
            names = ", ".join(segment.name for segment in self.segments)
            want = "cls" if select == "cls" else "grid4"
            raise UsageError(
                f"tokens={select} needs {select} tokens, the store holds only: {names}; "
                f"extract with --tokens {want} or full, or choose another tokens="
            )
        return found

    def patches_within(self, select: Select) -> list[int]:
        """Where the patches are among the selected tokens of a frame.

        Raises:
            UsageError: none is selected, or the store holds none.
        """
        every = range(self.tokens)
        chosen = self.positions(select)
        selected = every[chosen] if isinstance(chosen, slice) else chosen
        patches = set(self.positions("patches"))  # type: ignore[arg-type]
        found = [place for place, token in enumerate(selected) if token in patches]
        if not found:
            raise UsageError(
                f"moving chooses among patch tokens, and tokens={select} reads none; choose "
                "tokens=all or tokens=patches, or leave moving out"
            )
        return found

    def text(self, tower: str = "") -> "StoreText":
        """The text embeddings of one tower; "" names the only one.

        Raises:
            UsageError: there is none, or the name does not tell which.
        """
        found = [text for text in self.texts if tower in ("", text.tower, text.folder.name)]
        if len(found) == 1:
            return found[0]
        if not self.texts:
            raise UsageError(
                "this method compares tokens with texts and the store holds none; run extract on "
                "the same store with --text, e.g. --text clip-b16"
            )
        names = ", ".join(text.folder.name for text in self.texts)
        raise UsageError(f"tower={tower!r}: the store holds texts of {names}; choose one of these")

    def selected(self, select: Select) -> int:
        """Tokens per frame that a selection keeps."""
        positions = self.positions(select)
        return self.tokens if isinstance(positions, slice) else len(positions)
