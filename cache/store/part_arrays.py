"""The arrays of a store's parts as Zarr or HDF5 hands them to anybody."""

from collections.abc import Iterator, Mapping
from typing import Any

from stepcli.cache.parts.commit import PARTS
from stepcli.cache.parts.token_files import GROUP, HDF5_FILE
from stepcli.cache.schema.manifest import Format
from stepcli.cache.storage.clients import OBSTORE
from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import StoreError, UsageError


class PartArrays(Mapping[str, Any]):
    """One array of each part, by the part's name; opened read-only when it is asked for."""

    def __init__(self, root: StoragePath, form: Format, parts: tuple[str, ...], array: str) -> None:
        self._root = root
        self._format = form
        self._parts = parts
        self._array = array

    def __getitem__(self, part: str) -> Any:
        """Open a part's array.

        Raises:
            KeyError: the store has no such part.
            UsageError: the format's library cannot open it in that storage.
            StoreError: the library cannot read it, or it is gone.
        """
        if part not in self._parts:
            raise KeyError(part)
        try:
            return self._zarr(part) if self._format == "zarr" else self._hdf5(part)
        except OSError as error:
            raise StoreError(
                f"{self._root / PARTS / part}: cannot open array {self._array} ({error}); run "
                "store.refresh(), or stepcli store verify"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def _zarr(self, part: str) -> Any:
        import zarr

        path = f"{PARTS}/{part}/{GROUP}/{self._array}"
        return zarr.open_array(self._zarr_store(), path=path, mode="r")

    def _zarr_store(self) -> Any:
        local = self._root.local
        if local is not None:
            from zarr.storage import LocalStore

            return LocalStore(local, read_only=True)
        if self._root.address.partition("://")[0] not in OBSTORE:
            raise self._out_of_reach("zarr-python")
        from stepcli.cache.storage.obstore_client import zarr_store

        return zarr_store(self._root.address)

    def _hdf5(self, part: str) -> Any:
        import h5py

        local = (self._root / PARTS / part / HDF5_FILE).local
        if local is None:
            raise self._out_of_reach("h5py")
        return h5py.File(local, "r")[self._array]

    def _out_of_reach(self, library: str) -> UsageError:
        return UsageError(
            f"{self._root}: {library} cannot open arrays there; use store.read, or copy the store "
            f"to a disk first: stepcli store convert {self._root} FOLDER"
        )
