"""Trained probes and stores on the Hugging Face hub, through its own client.

Probes are model repositories, stores are data set repositories. Nothing here is reached unless the
user says --hub; HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are the client's own settings.
Source: huggingface_hub's HfApi (create_repo, create_commit, list_repo_files, snapshot_download).
"""

import glob
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from stepcli.apply.sharing.contents import export_all, receive, store_card
from stepcli.apply.sharing.parcels import CARD, PARCELS, Kind, files_of, is_permitted
from stepcli.cache.parts.commit import PARTS, RECORD
from stepcli.cache.schema.manifest import FILE_NAME as MANIFEST
from stepcli.cache.schema.manifest import read_manifest
from stepcli.cache.schema.spec import require_same_spec
from stepcli.cache.storage.local import LocalPath
from stepcli.cache.store.store import Store, open_store
from stepcli.runtime.errors import StepcliError, UsageError

# The HTTP library's own base error: httpx's or its successor's, whichever the client was built on.
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
DATASETS = "datasets/"
"""Before the name of a data set's repository, as the hub's own addresses have it."""


class HubError(StepcliError):
    """The hub cannot be reached, or says no."""


@contextmanager
def hub_errors(repo: str) -> Iterator[None]:
    """Turn what the hub's client says into one line."""
    try:
        yield
    except StepcliError:
        raise
    except OfflineModeIsEnabled as error:
        raise HubError(f"hub {repo}: HF_HUB_OFFLINE forbids it; unset it first") from error
    except LocalEntryNotFoundError as error:
        raise HubError(
            f"hub {repo}: cannot be reached; go online, or look at HF_ENDPOINT and the proxy"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"hub {repo}: no such repository, or not for this account; a store's name begins with "
            f"{DATASETS}, and private ones need HF_TOKEN or a login (hf auth login)"
        ) from error
    except (LocalTokenNotFoundError, _HTTP_ERROR, OSError, ValueError, RuntimeError) as error:
        # The client's own words for a failed upload do not say why.
        said = str(error)
        if error.__cause__ is not None and str(error.__cause__) not in said:
            said += f" {error.__cause__}"
        raise HubError(f"hub {repo}: {' '.join(said.split()):.300}") from error


def push(
    folder: Path,
    repo: str,
    kind: Kind,
    *,
    public: bool = False,
    replace: bool = False,
    endpoint: str | None = None,
    on_part: Callable[[int, int], None] | None = None,
) -> str:
    """Put a probe or a store on the hub; run again, it sends what is missing or has changed.

    Args:
        folder: The run's or the store's.
        repo: USER/NAME.
        kind: Which of the two.
        public: For everybody to see, where the repository is made now.
        replace: Remove parts of the repository that are not in this store.
        endpoint: Address of the hub; None: the client's.
        on_part: Called with (parts sent, parts in all).

    Returns:
        Address of the last commit.

    Raises:
        HubError: the hub cannot be reached, or says no.
        UsageError: the repository holds parts that are not in this store.
        SpecMismatch: it holds a store of another spec.
    """
    repo = repo.removeprefix(DATASETS)
    api = HfApi(endpoint=endpoint, library_name="stepcli")
    with hub_errors(repo):
        kind_there = "model" if kind == "probe" else "dataset"
        api.create_repo(repo, repo_type=kind_there, private=not public, exist_ok=True)
        there = set(api.list_repo_files(repo, repo_type=kind_there))
        if kind == "store":
            return _push_store(api, open_store(folder), repo, there, replace, on_part)
        with tempfile.TemporaryDirectory() as staging:
            made = export_all(folder, Path(staging))
            names = files_of(made, kind)
            stale = _ours(there, kind).difference(names)
            return _commit(api, repo, kind_there, made, names, stale, f"Probe {made.name}")


def _push_store(
    api: HfApi,
    store: Store,
    repo: str,
    there: set[str],
    replace: bool,
    on_part: Callable[[int, int], None] | None,
) -> str:
    """Part by part, the manifest last: what was sent before a break is not sent again."""
    folder = store.path.local
    assert folder is not None  # the store was opened from one
    if MANIFEST in there:
        _require_same_store(api, store, repo)
    names = files_of(folder, "store")
    sent = {name.split("/")[1] for name in there if name.endswith(f"/{RECORD}")}
    foreign = sorted(sent.difference(store.parts))
    if foreign and not replace:
        raise UsageError(
            f"hub {repo} holds {len(foreign)} parts that are not in {store.path}: pull it and put "
            "the two together with stepcli store merge, or take them away with --replace"
        )
    for done, part in enumerate(store.parts, 1):
        mine = [name for name in names if name.startswith(f"{PARTS}/{part}/")]
        if part not in sent:
            _commit(api, repo, "dataset", folder, mine, (), f"Part {part}")
        if on_part is not None:
            on_part(done, len(store.parts))
    rest = [name for name in names if not name.startswith(f"{PARTS}/")]
    stale = _ours(there, "store").difference(names)
    card = CommitOperationAdd(CARD, store_card(store).encode())
    return _commit(
        *(api, repo, "dataset", folder, rest, stale),
        f"Tables and manifest: {len(store)} clips in {len(store.parts)} parts",
        card,
    )


def _ours(names: set[str], kind: Kind) -> set[str]:
    """Those of a repository's files that a push answers for."""
    files, folders = PARCELS[kind]
    below = tuple(f"{folder}/" for folder in folders)
    return {name for name in names if name in files or name.startswith(below)}


def _require_same_store(api: HfApi, store: Store, repo: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hf_hub_download(
            repo, MANIFEST, repo_type="dataset", local_dir=folder, endpoint=api.endpoint
        )
        theirs = read_manifest(LocalPath(folder))
    require_same_spec(theirs.spec, store.spec, f"hub {repo}")
    for what in ("dataset", "format"):
        mine, other = getattr(store, what), getattr(theirs, what)
        if mine != other:
            raise UsageError(
                f"hub {repo} holds a store of {what} {other!r}, this one is {mine!r}; push to "
                "another repository"
            )


def _commit(
    api: HfApi,
    repo: str,
    kind: str,
    folder: Path,
    names: list[str],
    stale: set[str] | tuple[str, ...],
    message: str,
    *more: CommitOperationAdd,
) -> str:
    added = [CommitOperationAdd(name, folder / name) for name in names]
    removed = [CommitOperationDelete(name) for name in sorted(stale)]
    done = api.create_commit(
        repo, operations=[*added, *more, *removed], commit_message=message, repo_type=kind
    )
    return str(done.commit_url)


def pull(name: str, out: Path, *, revision: str | None = None, endpoint: str | None = None) -> Path:
    """Fetch a probe, or with datasets/ before its name a store, check it, and put it in `out`.

    Broken off and run again, it fetches what is missing.

    Raises:
        HubError: the hub cannot be reached, or has no such repository.
        UsageError: what came is no probe, or it is there already.
        DamagedStore: the store's bytes are not those that were written.
    """
    kind: Kind = "store" if name.startswith(DATASETS) else "probe"
    repo = name.removeprefix(DATASETS)

    def fill(staging: Path) -> Kind:
        there = "model" if kind == "probe" else "dataset"
        with hub_errors(name):
            listed = HfApi(endpoint=endpoint).list_repo_files(
                repo, repo_type=there, revision=revision
            )
            # Each file by its own name: with "text/*" a hub could name text/../../anything.
            wanted = [glob.escape(file) for file in listed if is_permitted(kind, file)]
            snapshot_download(
                repo,
                repo_type=there,
                revision=revision,
                local_dir=staging,
                allow_patterns=wanted or ["-"],
                endpoint=endpoint,
            )
        needed = "run.json" if kind == "probe" else MANIFEST
        if not (staging / needed).is_file():
            raise UsageError(
                f"hub {name} holds no {kind}: it has no {needed}; was its push broken off?"
            )
        return kind

    target = out / repo.rpartition("/")[2]
    if kind == "store" and target.exists():
        raise UsageError(f"{target} is there already; remove it, or give another --out")
    return receive(out, target.name, fill, resumes=True)
