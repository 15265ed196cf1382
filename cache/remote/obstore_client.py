"""Object storage through obstore. Credentials and endpoint come from the environment (AWS_*)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import from_url

from stepcli.cache.errors import StoreError

RETRIES: Any = {
    "max_retries": 5,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(seconds=0.1),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}
"""Of one request, after answers of 500 and above, dropped connections and timeouts."""


class ObstoreClient:
    """See `ObjectClient`."""

    def __init__(self, url: str) -> None:
        self._url = url
        with self._errors():
            self._store: Any = from_url(url, retry_config=RETRIES)

    def get(self, key: str) -> bytes:
        """A whole object; FileNotFoundError when there is none."""
        with self._errors():
            return bytes(obstore.get(self._store, key).bytes())

    def get_ranges(self, key: str, starts: Sequence[int], length: int) -> Sequence[Any]:
        """Ranges of one length; obstore joins neighbours and asks for several at a time."""
        lengths = [length] * len(starts)
        with self._errors():
            return obstore.get_ranges(self._store, key, starts=list(starts), lengths=lengths)

    def size(self, key: str) -> int:
        """Bytes of an object; FileNotFoundError when there is none."""
        with self._errors():
            return int(obstore.head(self._store, key)["size"])

    def put(self, key: str, source: bytes | Path, *, create: bool = False) -> bool:
        """Write an object; with `create` only if there is none: False when there is."""
        with self._errors():
            if not create:
                obstore.put(self._store, key, source)
                return True
            try:
                obstore.put(self._store, key, source, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def list(self, prefix: str) -> list[str]:
        """Keys of all objects below a prefix."""
        with self._errors():
            pages = obstore.list(self._store, prefix=prefix.rstrip("/") or None)
            return [str(entry["path"]) for page in pages for entry in page]

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        try:
            with self._errors():
                obstore.delete(self._store, key)
        except FileNotFoundError:
            return

    def zarr_array(self, key: str) -> Any:
        """The Zarr array at a prefix, opened by zarr-python for reading."""
        import zarr
        from zarr.storage import ObjectStore

        return zarr.open_array(ObjectStore(self._store, read_only=True), path=key, mode="r")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except NotFoundError as error:
            raise FileNotFoundError(str(error)) from error
        except BaseError as error:
            reason = " ".join(str(error).split())[:300]
            raise StoreError(
                f"{self._url}: the object storage refused ({type(error).__name__}: {reason}); "
                "check the URL, the endpoint and the credentials in the environment"
            ) from error
