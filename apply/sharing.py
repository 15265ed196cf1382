"""What of a trained probe or a store is given to others, and whether what came is whole.

Nothing that is pulled is ever run or unpickled: weights are safetensors, settings and tables are
data that are checked, and files of other names stay where they were.
"""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from stepcli.cache import tables
from stepcli.cache.care.verify import verify_store
from stepcli.cache.durable import disk_errors, fsync_folder
from stepcli.cache.errors import DamagedStore, UsageError
from stepcli.cache.failures import FOLDER as FAILURES
from stepcli.cache.manifest import FILE_NAME as MANIFEST
from stepcli.cache.parts.folders import PARTS, TOMBSTONES, list_parts
from stepcli.cache.store import Store
from stepcli.cache.table_versions import FOLDER as VERSIONS

Kind = Literal["probe", "store"]

PROBE_FILES = (
    *("run.json", "probe.safetensors", "calibration.json", "order.json"),
    *("README.md", "probe.onnx"),
)
TEXT = "text"
"""Folder of text embeddings, of a store and of a probe that compares tokens with texts."""
PROBE_FOLDERS = (TEXT,)
STORE_FILES = (MANIFEST, tables.CLIPS, tables.CLASSES, tables.DIGESTS)
STORE_FOLDERS = (PARTS, TEXT, VERSIONS, FAILURES, TOMBSTONES)

PARCELS: dict[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "probe": (PROBE_FILES, PROBE_FOLDERS),
    "store": (STORE_FILES, STORE_FOLDERS),
}
"""Files, and folders with all that is in them, that are given to others."""
_CLIENT_NOTES, _CLIENT_BEGUN = ".cache", ".incomplete"
"""Where the hub's client keeps what it knows of a folder, and how a file begun there ends."""


def kind_of(folder: Path) -> Kind:
    """Whether a folder is a trained probe's or a store's.

    Raises:
        UsageError: it is neither.
    """
    if (folder / MANIFEST).is_file():
        return "store"
    if (folder / "run.json").is_file():
        return "probe"
    raise UsageError(
        f"{folder} is neither a trained probe (run.json) nor a feature store ({MANIFEST}); give "
        "runs/<run>, or a store's folder"
    )


def files_of(folder: Path, kind: Kind) -> list[str]:
    """Paths below a folder that are given to others, sorted: no lock, no staging, no link."""
    files, folders = PARCELS[kind]
    names = [name for name in files if _is_plain(folder / name)]
    for below in folders:
        # Of what lies in parts/ only committed parts count.
        roots = [below] if below != PARTS else [f"{PARTS}/{name}" for name in list_parts(folder)]
        for root in roots:
            found = (path for path in (folder / root).rglob("*") if _is_plain(path))
            names += [path.relative_to(folder).as_posix() for path in found]
    return sorted(names)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def receive(out: Path, name: str, fill: Callable[[Path], Kind], *, resumes: bool = False) -> Path:
    """Put what somebody gives in place once it is whole and checked.

    Args:
        out: Where its folder is put.
        name: The folder's, for a store; a probe's is the name of its run.
        fill: Writes the files into a folder.
        resumes: Whether `fill` goes on from what an earlier try left: then that is kept.

    Raises:
        UsageError: there is such a folder already, or what came is no probe.
        DamagedStore: the store's bytes are not those that were written.
    """
    staging = out / f".pulling-{name}"
    with disk_errors(out):
        staging.mkdir(parents=True, exist_ok=True)
        try:
            kind = fill(staging)
            target = out / (name if kind == "store" else _run_name(staging))
            if target.exists():
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
            if (folder / problem.place).is_file():
                (folder / problem.place).unlink()
        first = report.problems[0]
        raise DamagedStore(
            f"what came is damaged: {first.place}: {first.problem} (problems: "
            f"{len(report.problems)}); pull again: only damaged files are fetched anew"
        )
    from stepcli.probe.analysis.trained import layout_of_run, load_probe

    record = _record(folder)
    if ".py:" in str(record.get("method")):
        raise UsageError(
            f"the probe's method is code of its author ({record['method']}); code is never pulled "
            "and never run"
        )
    load_probe(folder, record, layout_of_run(record, folder))


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"no trained probe came: run.json cannot be read ({error})") from None
    if not isinstance(record, dict):
        raise UsageError("no trained probe came: run.json holds no settings")
    return record


def _run_name(folder: Path) -> str:
    """A probe's folder is called as its run; the name comes from a stranger."""
    name = _record(folder).get("run")
    if not isinstance(name, str) or Path(name).name != name or name.startswith("."):
        raise UsageError(f"the probe calls itself {name!r}, which is no name of a folder")
    return name


def copy_files(source: Path, names: list[str], target: Path) -> None:
    """Copy files below one folder to another; bytes are copied, never linked."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name, follow_symlinks=False)


def push_to_folder(folder: Path, out: Path) -> Path:
    """Give a probe or a store away in <out>/<its name>.

    Raises:
        UsageError: neither a probe nor a store, or there is such a store already.
    """
    if kind_of(folder) == "probe":
        return export_all(folder, out)
    target = out / folder.resolve().name
    if target.exists():
        raise UsageError(
            f"{target} is there already; add to a store with stepcli store merge, or give another "
            "--to"
        )
    staging = out / f".{target.name}-{uuid.uuid4().hex}"
    with disk_errors(out):
        try:
            copy_files(folder, files_of(folder, "store"), staging)
            staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        fsync_folder(out)
    return target


def export_all(folder: Path, out: Path) -> Path:
    """A probe's folder with its card, and its ONNX where it has one."""
    from stepcli.probe.export import ONNX, export_folder

    target = export_folder(folder, out)
    if _is_plain(folder / ONNX) and folder.resolve() != target.resolve():
        shutil.copyfile(folder / ONNX, target / ONNX)
    return target


def pull_from_folder(source: Path, out: Path) -> Path:
    """Take a probe or a store that lies in a folder; it is checked first.

    Raises:
        UsageError: neither, or it is there already.
        DamagedStore: the store's bytes are not those that were written.
    """
    kind = kind_of(source)

    def fill(staging: Path) -> Kind:
        copy_files(source, files_of(source, kind), staging)
        return kind

    return receive(out, source.resolve().name, fill)


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
            f"Tokens of a frozen `{spec.backbone}` on {len(store):,} clips of {store.dataset} "
            f"({counts}), for training temporal probes.",
            "",
            f"- {spec.frames} frames a clip, sampling `{spec.sampling}`",
            f"- tokens a frame: {tokens}; {spec.dim} channels, {spec.dtype}",
            f"- a token depends on its {spec.token_scope}; layers {list(spec.layers)}",
            f"- weights sha256 `{spec.weights_digest}`",
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
