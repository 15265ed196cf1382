"""Paths of the files of the two token formats in a part; light, since reading needs no more."""

from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.part_layout import ArrayLayout

GROUP = "tokens.zarr"
HDF5_FILE = "tokens.h5"


def array_file(form: Format, array: ArrayLayout) -> str:
    """Path, below a part's folder, of the file that an index's offsets point into."""
    if form == "zarr":
        return f"{GROUP}/{array.name}/c." + ".".join("0" for _ in array.axes)
    return HDF5_FILE
