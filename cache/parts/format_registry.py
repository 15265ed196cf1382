"""The two token formats behind one face."""

from collections.abc import Callable
from pathlib import Path

from stepcli.cache.parts import hdf5_tokens, zarr_tokens
from stepcli.cache.parts.stream import TokenWriter
from stepcli.cache.schema.layout import ArrayLayout, TokenLayout
from stepcli.cache.schema.manifest import Format


def open_token_writer(
    form: Format, part: Path, layout: TokenLayout, planned_clips: int
) -> TokenWriter:
    """A writer for the tokens of one staged part.

    Args:
        form: "zarr" or "hdf5".
        part: the staged folder.
        layout: of the store.
        planned_clips: how many clips a full part holds; a guess that saves work when right.
    """
    if form == "zarr":
        return zarr_tokens.ZarrTokenWriter(part, layout)
    return hdf5_tokens.Hdf5TokenWriter(part, layout, planned_clips)


_ARRAY_FILES: dict[Format, Callable[[ArrayLayout], str]] = {
    "zarr": zarr_tokens.array_file,
    "hdf5": hdf5_tokens.array_file,
}


def array_file(form: Format, array: ArrayLayout) -> str:
    """Path, below a part's folder, of the file that an index's offsets point into."""
    return _ARRAY_FILES[form](array)
