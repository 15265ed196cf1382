"""The two token formats behind one face."""

from pathlib import Path

from stepcli.cache.parts.token_writer import TokenWriter
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.part_layout import PartLayout


def open_token_writer(
    form: Format, part: Path, layout: PartLayout, planned_clips: int
) -> TokenWriter:
    """Open a writer for the tokens of one staged part; imports that format's library.

    Args:
        form: "zarr" or "hdf5".
        part: the staged folder.
        layout: of the store.
        planned_clips: how many clips a full part holds; a guess that saves work when right.
    """
    if form == "zarr":
        from stepcli.cache.parts.zarr_tokens import ZarrTokenWriter

        return ZarrTokenWriter(part, layout)
    from stepcli.cache.parts.hdf5_tokens import Hdf5TokenWriter

    return Hdf5TokenWriter(part, layout, planned_clips)
