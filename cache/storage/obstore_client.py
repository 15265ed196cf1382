"""Object storage through obstore. Credentials and endpoint come from the environment (AWS_*)."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import from_url

from stepcli.cache.storage.handles import Entry
from stepcli.cache.storage.object_client import ObjectClient
from stepcli.runtime.credentials import redacted
from stepcli.runtime.errors import DamagedStore, StorageError, StoreError

_Answer = TypeVar("_Answer")

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
TIMEOUTS: Any = {
    "connect_timeout": timedelta(seconds=10),
    "read_timeout": timedelta(seconds=30),
    "timeout": timedelta(minutes=10),
}
"""Of one request: to connect, without a byte of answer, and in all. A slow answer is no failure."""
CLIENT_VARIABLES = ("allow_http", "allow_invalid_certificates", "proxy_url", *TIMEOUTS)
"""What a user may set of the connection: AWS_ALLOW_HTTP, GOOGLE_PROXY_URL, AZURE_TIMEOUT ..."""
BEYOND_THE_END = "416"
"""In the error of a range that begins where the object has ended: HTTP's status for it."""
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")
"""In the error of any request to a bucket that does not exist: of S3, Azure, Google."""
INSTANCE_METADATA = "169.254.169.254"
"""Where a machine of a cloud asks for its own credentials."""


class ObstoreClient(ObjectClient):
    """See `ObjectClient`."""

    def __init__(self, url: str, address: str = "") -> None:
        """Connect; `address` is the URL with the credentials that it was given with."""
        self._url = url
        address = address or url
        with self._errors():
            options = _client_options()
            self._store: Any = from_url(address, client_options=options, retry_config=RETRIES)
            once: Any = {**RETRIES, "max_retries": 0}
            self._once: Any = from_url(address, client_options=options, retry_config=once)

    def get(self, key: str, limit: int | None = None) -> bytes:
        """See `ObjectClient`; no ETag is asked for."""
        return self._get(key, limit)[0]

    def get_versioned(self, key: str, limit: int | None) -> tuple[bytes, dict[str, str]]:
        """A whole object, and what a PUT names that replaces this version of it."""
        content, meta = self._get(key, limit)
        version = _version_in(meta)
        if not version:
            raise StoreError(
                f"{self._url}: the object storage gives {key} no ETag, without which changes of "
                "two writers could undo each other; use storage that does"
            )
        return content, version

    def _get(self, key: str, limit: int | None) -> tuple[bytes, Any]:
        with self._errors():
            answer = obstore.get(self._store, key)
            size = answer.meta["size"]
            if limit is not None and size > limit:
                raise DamagedStore(
                    f"{self._url}/{key}: expected at most {limit} bytes, found {size}"
                )
            return bytes(answer.bytes()), answer.meta

    def swap(self, key: str, content: bytes, version: Any) -> bool:
        """Write an object if it is still of this version; False when it is not."""
        if version is None:
            return self._create(key, content)

        def swap(attempt: int) -> bool:
            try:
                with self._errors():
                    obstore.put(self._once, key, content, mode=version, use_multipart=False)
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                # Repeated since an answer was lost: the first one may have come through.
                return attempt > 0 and self._holds(key, content)
            return True

        return _repeated(swap)

    def _holds(self, key: str, content: bytes) -> bool:
        try:
            return self.get(key) == content
        except FileNotFoundError:
            return False

    def get_ranges(self, key: str, starts: Sequence[int], length: int) -> Sequence[Any]:
        """Ranges of one length; obstore joins neighbours and asks for several at a time."""
        lengths = [length] * len(starts)
        with self._errors():
            return obstore.get_ranges(self._store, key, starts=list(starts), lengths=lengths)

    def get_range(self, key: str, start: int, length: int) -> tuple[Any, int]:
        """One range, and the object's length, which its answer tells too."""
        try:
            with self._errors():
                answer = obstore.get(self._store, key, options={"range": (start, start + length)})
                return answer.bytes(), int(answer.meta["size"])
        except StoreError as error:
            if BEYOND_THE_END in str(error):
                return b"", start
            raise

    def size(self, key: str) -> int:
        """Bytes of an object; FileNotFoundError when there is none."""
        with self._errors():
            return int(obstore.head(self._store, key)["size"])

    def put(self, key: str, source: bytes | Path) -> None:
        """Write an object."""
        with self._errors():
            obstore.put(self._store, key, source)

    def _create(self, key: str, content: bytes) -> bool:
        """A conditional PUT whose answer was lost may have come through: if the object is there
        when it is repeated, and is ours, that was us."""

        def create(attempt: int) -> bool:
            try:
                with self._errors():
                    obstore.put(self._once, key, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return attempt > 0 and self._holds(key, content)
            return True

        return _repeated(create)

    def replace(self, key: str, content: bytes) -> None:
        """Write an object, whatever is there; a request that comes late undoes nothing newer.

        One that the server did not answer in time may still be carried out, after its repetition
        and after what others have written since: so each names the version that it replaces, and
        one that comes too late fails.
        """

        def replace(_attempt: int) -> None:
            seen = self._version(key)
            if seen is None and self._create(key, content):
                return
            try:
                with self._errors():
                    # A server that tells no versions cannot hold late requests off.
                    mode: Any = seen or self._version(key) or "overwrite"
                    obstore.put(self._once, key, content, mode=mode, use_multipart=False)
            except PreconditionError as error:
                if self.get(key) != content:
                    raise StoreError(
                        f"{self._url}: other writers replace {key} all the time; run the command "
                        "again when they are done"
                    ) from error

        _repeated(replace)

    def _version(self, key: str) -> dict[str, str] | None:
        """What a PUT names that replaces this version of an object; None: there is none."""
        try:
            with self._errors():
                found = obstore.head(self._store, key)
        except FileNotFoundError:
            return None
        return _version_in(found)

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the storage, over what is there."""
        with self._errors():
            obstore.copy(self._store, key, target)

    def entries(self, prefix: str) -> dict[str, Entry]:
        """All objects below a prefix, by key: a request for each thousand."""
        with self._errors():
            pages = obstore.list(self._store, prefix=prefix.rstrip("/") or None)
            return {
                str(entry["path"]): Entry(entry["size"], entry["last_modified"].timestamp())
                for page in pages
                for entry in page
            }

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""

        def delete(_attempt: int) -> None:
            with self._errors():
                obstore.delete(self._once, key)

        with suppress(FileNotFoundError):
            _repeated(delete)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (AlreadyExistsError, PreconditionError):
            raise
        except (NotFoundError, FileNotFoundError) as error:
            self._require_bucket(error)
            raise FileNotFoundError(redacted(str(error))) from error
        except BaseError as error:
            self._require_bucket(error)
            reason = redacted(" ".join(str(error).partition("Debug source")[0].split()))[:300]
            if INSTANCE_METADATA in reason:  # asked for credentials, since the user gave none
                raise StorageError(
                    f"{self._url}: no credentials for the object storage; set AWS_ACCESS_KEY_ID "
                    "and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true where anybody may read"
                ) from error
            raise StorageError(
                f"{self._url}: the object storage refused ({type(error).__name__}: {reason}); "
                "check the URL, the endpoint and the credentials in the environment"
            ) from error

    def _require_bucket(self, error: BaseException) -> None:
        """Tell a missing bucket from a missing object; the answer to HEAD cannot tell."""
        if any(words in str(error) for words in NO_BUCKET):
            bucket = self._url.partition("://")[2].partition("/")[0]
            raise StorageError(
                f"{self._url}: there is no bucket {bucket!r}; create it, or correct the URL"
            ) from error


def _version_in(meta: Any) -> dict[str, str]:
    named = {"e_tag": meta["e_tag"], "version": meta["version"]}
    return {name: value for name, value in named.items() if value is not None}


def _repeated(request: Callable[[int], _Answer]) -> _Answer:
    """Repeat what obstore does not when an answer is lost (conditional PUT, POST), as often as it
    repeats the rest; `request` is told how often it has been tried."""
    pause = RETRIES["backoff"]["init_backoff"].total_seconds()
    for attempt in range(RETRIES["max_retries"]):
        try:
            return request(attempt)
        except (StoreError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and not attempt:
                raise
        time.sleep(pause)
        pause *= 2
    return request(RETRIES["max_retries"])


def zarr_store(address: str) -> Any:
    """zarr-python's read-only store of everything below a URL."""
    from zarr.storage import ObjectStore

    store = from_url(address, client_options=_client_options(), retry_config=RETRIES)
    return ObjectStore(store, read_only=True)


def _client_options() -> Any:
    """Our timeouts, and the user's settings over them: given some, obstore reads none itself."""
    options: dict[str, Any] = dict(TIMEOUTS)
    for vendor in ("AWS", "GOOGLE", "AZURE"):
        for name in CLIENT_VARIABLES:
            if value := os.environ.get(f"{vendor}_{name.upper()}"):
                is_switch = name.startswith("allow_")
                options[name] = value.lower() in ("1", "true", "yes") if is_switch else value
    return options
