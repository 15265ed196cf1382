"""Which files of the product run while a user's command runs, traced from outside.

A `sitecustomize` of our own is put on PYTHONPATH, so every process that a command starts traces
itself too (decoder workers, shares). It notes each product file the first time one of its
functions runs; each note is appended at once, so a killed process loses none.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

TRACER = r'''
import os, sys, threading

ROOT, NOTES = os.environ["HOUSE_ROOT"], os.environ["HOUSE_NOTES"]
TOKENS, RUNS = os.environ["HOUSE_TOKENS"], os.environ["HOUSE_RUNS"]
AUTOGRAD = os.path.join("torch", "autograd", "__init__.py")
HIDDEN = os.path.join(ROOT, ".")  # an environment inside the checkout, e.g. .venv
phase, seen = "before", {}


def product(path):
    return path.startswith(ROOT) and not path.startswith(HIDDEN)


def note(kind, path):
    line = f"{phase}\t{kind}\t{os.path.relpath(path, ROOT)}\n".encode()
    file = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


def under_import(frame):
    """Is a product module being imported below this frame?"""
    while frame is not None:
        code = frame.f_code
        name = frame.f_globals.get("__name__")
        if code.co_name == "<module>" and name != "__main__" and product(code.co_filename):
            return True
        frame = frame.f_back
    return False


def profile(frame, event, arg):
    if event != "call":
        return
    code = frame.f_code
    if code in seen:
        return
    path = code.co_filename
    if path.startswith("<"):  # made by exec: a dataclass's __init__ belongs to its module
        path = frame.f_globals.get("__file__") or path
    if not product(path):
        if code.co_name in ("backward", "grad") and path.endswith(AUTOGRAD):
            step()
        else:
            seen[code] = None
        return
    if code.co_name == "<module>":
        note("imported", path)
    elif code.co_flags & 1:  # CO_OPTIMIZED: a function; the body of a class has it not
        if under_import(frame):
            return  # a decorator or a registration at import; it may still be called later
        note("ran", path)
    seen[code] = None


def enter(next_phase):
    """Note from here on what runs in this phase, however often it ran before."""
    global phase
    phase = next_phase
    seen.clear()


def step():
    """A gradient is about to be computed: the logits of a batch are there."""
    if phase in ("first", "second"):
        enter("second" if phase == "first" else "rest")


def audit(event, arguments):
    """From the first read of a token file to the first file of a run written."""
    if event != "open" or isinstance(arguments[0], int):
        return
    path, mode, flags = os.fsdecode(arguments[0]), *arguments[1:]
    # The name alone: stepcli opens folder by folder, each below the one before.
    if phase == "before" and os.path.basename(path) == TOKENS:
        enter("first")
    elif phase == "rest" and path.startswith(RUNS) and flags & (os.O_WRONLY | os.O_RDWR):
        enter("after")


sys.addaudithook(audit)
threading.setprofile(profile)
sys.setprofile(profile)
'''

EXTRACT = (
    "extract --dataset openclose --backbone mobilenet_v2-bundled-320 --frames 4 --tokens grid2"
    " --device cpu --workers 1 --limit {clips} --store {store}"
)
PROBE = (
    "probe --method step --epochs 1 --batch-size 8 --device cpu --store {store} --runs {runs}/one"
)
SWEEP = (
    "sweep --method step,linear --lr 1e-4,1e-3 --seeds 1 --epochs 1 --device cpu"
    " --store {store} --runs {runs}/sweep"
)
RESULTS = "results --runs {runs}/sweep"


@dataclass(frozen=True)
class Walk:
    """Product files that one or more commands passed, as paths from the checkout's root."""

    ran: frozenset[str]
    """A function of theirs ran, other than while a module was imported."""
    first: frozenset[str]
    """Of those: from the first read of a token file to the first gradient."""
    second: frozenset[str]
    """Of those: from the first gradient to the next one, one step of training."""
    evaluated: frozenset[str]
    """Of those: from the first read of a token file to the first file of a run written."""
    imported: frozenset[str]

    @property
    def rooms(self) -> frozenset[str]:
        """Packages of the files that ran."""
        return frozenset(str(Path(path).parent) for path in self.ran)


@dataclass(frozen=True)
class Walks:
    clip: Walk
    probe: Walk
    sweep: Walk


def trace(root: Path, python: Path) -> Walks:
    """Run the three walks of a checkout with its own Python; raises SystemExit where one fails."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        (place / "hook").mkdir()
        (place / "hook" / "sitecustomize.py").write_text(TRACER)
        one = _walk(root, python, place, "one", EXTRACT.format(clips=1, store=place / "one"))
        store, runs = place / "store", place / "runs"
        _run(root, python, place, "make", EXTRACT.format(clips=48, store=store))
        (place / "tokens").write_text(_token_file(store))
        probe = _walk(root, python, place, "probe", PROBE.format(store=store, runs=runs))
        sweep = [command.format(store=store, runs=runs) for command in (SWEEP, RESULTS)]
        return Walks(one, probe, _walk(root, python, place, "sweep", *sweep))


def _token_file(store: Path) -> str:
    """Name of the file that holds a store's tokens: the largest by far, in either format."""
    return max((path for path in store.rglob("*") if path.is_file()), key=_size).name


def _size(path: Path) -> int:
    return path.stat().st_size


def _walk(root: Path, python: Path, place: Path, name: str, *commands: str) -> Walk:
    notes = place / f"{name}.notes"
    for command in commands:
        _run(root, python, place, name, command, notes)
    found: dict[tuple[str, str], set[str]] = {}
    for line in notes.read_text().splitlines():
        phase, kind, path = line.split("\t")
        found.setdefault((phase, kind), set()).add(path)

    def files(kind: str, *phases: str) -> frozenset[str]:
        return frozenset(path for phase in phases for path in found.get((phase, kind), ()))

    batch = ("first", "second", "rest")
    return Walk(
        files("ran", "before", *batch, "after"),
        files("ran", "first"),
        files("ran", "second"),
        files("ran", *batch),
        files("imported", "before", *batch, "after"),
    )


def _run(
    root: Path, python: Path, place: Path, name: str, command: str, notes: Path | None = None
) -> None:
    """Run one command; traced where there is a file for the notes."""
    clean = {k: v for k, v in os.environ.items() if not re.match("STEPCLI_|PYTHON|HOUSE_", k)}
    environment = clean | {"STEPCLI_STATE": str(place / "state"), "HF_HUB_OFFLINE": "1"}
    if notes:
        environment |= {
            "PYTHONPATH": str(place / "hook"),
            "HOUSE_ROOT": f"{root}{os.sep}",
            "HOUSE_NOTES": str(notes),
            "HOUSE_TOKENS": tokens.read_text() if (tokens := place / "tokens").exists() else "",
            "HOUSE_RUNS": str(place / "runs"),
        }
    done = subprocess.run(
        [python, "-m", "stepcli.cli", *command.split()],
        capture_output=True,
        text=True,
        env=environment,
        cwd=place,
    )
    if done.returncode:
        raise SystemExit(f"{root}: {name} failed: stepcli {command}\n{done.stderr}")
