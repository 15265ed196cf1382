"""What of a trained probe or a store is given to others, and whether what came is whole.

Nothing that is pulled is ever run or unpickled: weights are safetensors, settings and tables are
data that are checked, and files of other names stay where they were.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stepcli.apply.sharing.parcels import Kind, copy_files, files_of, is_permitted, remove_strays
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.manifest import FILE_NAME as MANIFEST
from stepcli.cache.store.store import Store
from stepcli.probe.runs.staging import staging_folder, sweep_staging
from stepcli.runtime.code_files import is_code
from stepcli.runtime.errors import DamagedStore, StoreError, UsageError
from stepcli.runtime.files import (
    disk_errors,
    fsync_folder,
    is_present,
    read_regular,
    replace_beneath,
)
from stepcli.runtime.sealed_json import SEALED_LIMIT
from stepcli.runtime.words import counted

if TYPE_CHECKING:
    from stepcli.probe.runs.record import RunRecord

_CLIENT_NOTES, _CLIENT_BEGUN = ".cache", ".incomplete"
"""Where the hub's client keeps what it knows of a folder, and how a file begun there ends."""


def kind_of(folder: Path) -> Kind:
    """Whether a folder is a trained probe's or a store's.

    Raises:
        UsageError: it is neither.
    """
    if _is_plain(folder / MANIFEST):
        return "store"
    if _is_plain(folder / "run.json"):
        return "probe"
    raise UsageError(
        f"{folder} is neither a trained probe (run.json) nor a feature store ({MANIFEST}); give "
        "runs/<run>, or a store's folder"
    )


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def receive(out: Path, name: str, fill: Callable[[Path], Kind], *, resumes: bool = False) -> Path:
    """Put what somebody gives in place once it is whole and checked.

    Args:
        out: Where its folder is put.
        name: The folder's, for a store; a probe's is the name of its run.
        fill: Writes the files into a folder.
        resumes: Whether `fill` resumes what an earlier try left: then that is kept.

    Raises:
        UsageError: there is such a folder already, or what came is no probe.
        DamagedStore: the store's bytes are not those that were written.
    """
    staging = out / f".pulling-{name}"
    if staging.is_symlink():
        raise UsageError(f"{staging} is a link; remove it, or give another --out")
    with disk_errors(out):
        staging.mkdir(parents=True, exist_ok=True)
        try:
            kind = fill(staging)
            remove_strays(staging, kind, keep=_CLIENT_NOTES)
            target = out / (name if kind == "store" else _run_name(staging))
            if is_present(target):
                raise UsageError(f"{target} is there already; remove it, or give another --out")
            check_received(staging, kind)
            shutil.rmtree(staging / _CLIENT_NOTES, ignore_errors=True)
            staging.rename(target)
        finally:
            if not (resumes and _holds_data(staging)):
                shutil.rmtree(staging, ignore_errors=True)
        fsync_folder(out)
    return target


def _holds_data(staging: Path) -> bool:
    """Whether files, or beginnings of files, have come; the hub client's notes are none."""
    files = [path.relative_to(staging) for path in staging.rglob("*") if path.is_file()]
    return any(path.parts[0] != _CLIENT_NOTES or path.suffix == _CLIENT_BEGUN for path in files)


def check_received(folder: Path, kind: Kind) -> None:
    """Read all of what was received, as its use would; damaged files of a store are removed.

    Raises:
        UsageError: no trained probe, or one whose code is its author's.
        DamagedStore: a file of the store is missing or has other bytes.
    """
    if kind == "store":
        report = verify_store(folder)
        if report.ok:
            return
        for problem in report.problems:
            # What is whole stays, so that a second try fetches the damaged files alone.
            if is_permitted("store", problem.place) and (folder / problem.place).is_file():
                (folder / problem.place).unlink()
        first = report.problems[0]
        raise DamagedStore(
            f"what came is damaged: {first.place}: {first.problem} (problems: "
            f"{len(report.problems)}); pull again: only damaged files are fetched anew"
        )
    from stepcli.probe.analysis.load_run import layout_of_run, load_probe

    record = _record(folder)
    if is_code(record.method):
        raise UsageError(
            f"the probe's method is code of its author ({record.method}); code is never pulled "
            "and never run"
        )
    load_probe(folder, record, layout_of_run(record, folder))


def _record(folder: Path) -> "RunRecord":
    """A probe's folder is not called as its run yet."""
    from stepcli.probe.runs.record import FILE, parse_run

    try:
        return parse_run(read_regular(folder / FILE, SEALED_LIMIT))
    except (OSError, ValueError, StoreError) as error:
        raise UsageError(f"no trained probe came: run.json cannot be read ({error})") from None


def _run_name(folder: Path) -> str:
    """A probe's folder is called as its run; the name is not trusted."""
    name = _record(folder).run
    if Path(name).name != name or name.startswith("."):
        raise UsageError(f"the probe calls itself {name!r}, which is no name of a folder")
    return name


def push_to_folder(folder: Path, out: Path) -> Path:
    """Give a probe or a store away in <out>/<its name>.

    Raises:
        UsageError: neither a probe nor a store, or there is such a store already.
    """
    if kind_of(folder) == "probe":
        return export_all(folder, out)
    folder = folder.resolve()  # the link that you name yourself is followed
    target = out / folder.name
    if is_present(target):
        raise UsageError(
            f"{target} is there already; add to a store with stepcli store merge, or give another "
            "--to"
        )
    names = files_of(folder, "store")
    with disk_errors(out):
        sweep_staging(out)
        with staging_folder(out) as staging:
            copy_files(folder, names, staging)
            staging.rename(target)
        fsync_folder(out)
    return target


def export_all(folder: Path, out: Path) -> Path:
    """A probe's folder with its card, and its ONNX where it has one."""
    from stepcli.probe.analysis.export import ONNX, export_folder

    names = files_of(folder.resolve(), "probe")
    target = export_folder(folder, out)
    if ONNX in names and folder.resolve() != target.resolve():
        with disk_errors(target):
            replace_beneath(folder.resolve(), ONNX, target / ONNX)
    return target


def pull_from_folder(source: Path, out: Path) -> Path:
    """Take a probe or a store from a folder; it is checked first.

    Raises:
        UsageError: neither, or it is there already.
        DamagedStore: the store's bytes are not those that were written.
    """
    source = source.resolve()
    kind = kind_of(source)

    def fill(staging: Path) -> Kind:
        copy_files(source, files_of(source, kind), staging)
        return kind

    return receive(out, source.name, fill)


def store_card(store: Store) -> str:
    """What somebody who is given a store must know."""
    spec = store.spec
    tokens = ", ".join(f"{s.name} ({s.count})" for s in spec.segments)
    splits: dict[str, int] = {}
    for row in store.clips():
        if row.id in store:
            splits[row.split or "(none)"] = splits.get(row.split or "(none)", 0) + 1
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(splits.items()))
    return "\n".join(
        [
            *("---", "library_name: stepcli", "tags:", "- video", "- features", "---", ""),
            f"# {store.dataset}, {spec.backbone}",
            "",
            f"Tokens of a frozen `{spec.backbone}` on {counted(len(store), 'clip')} of "
            f"{store.dataset} "
            f"({counts}), for training temporal probes.",
            "",
            f"- {spec.frames} frames per clip, sampling `{spec.sampling}`",
            f"- tokens per frame: {tokens}; {spec.dim} channels, {spec.dtype}",
            f"- a token depends on its {spec.token_scope}; layers {list(spec.layers)}",
            f"- weights sha256 `{spec.weights_digest}`",
            *([f"- code of the backbone sha256 `{spec.code_digest}`"] if spec.code_digest else []),
            f"- fingerprint `{store.fingerprint}`",
            "",
            "```sh",
            "stepcli pull datasets/USER/NAME --hub --out stores",
            "stepcli probe --method step --store stores/NAME",
            "```",
            "",
            "The terms of the videos and of the backbone hold for what was made of them.",
            "",
        ]
    )
