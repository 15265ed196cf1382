"""One fault a round, at every kind of call a store makes: nothing is lost, nothing is called done.

    python tests/cache/fault_rounds.py --rounds 2000

Each round begins with fresh stores, runs an action with one fault in a process of its own, looks at
the stores with none, runs the action again without, and looks again. Prints counts by action.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import early_imports  # noqa: F401
from fault_actions import ACTIONS, FORMATS, Action, check_done, check_kept, copy_stores, make_stores
from fault_commands import COMMANDS, make_commands
from fault_seam import ERRORS, SHORT, Faults

from stepcli.cache.schema.manifest import Format
from stepcli.cache.storage.local import LocalPath
from stepcli.cli import MENDABLE
from stepcli.runtime.errors import StepcliError

ALL = ACTIONS | COMMANDS
SAID, BROKE = 1, 3
"""Exit codes of a process: an error that says what is wrong in a line; any other exception."""


@dataclass(frozen=True)
class Fault:
    """One fault of one action."""

    action: str
    form: Format
    kind: str
    error: str
    number: int


def in_child(work: Callable[[], None], log: Path) -> int:
    """Run in a forked process; its exit code, or -signal. What it says is in `log`."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = BROKE
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # commands report their progress
    os.dup2(quiet, 2)
    try:
        with log.open("w") as said:
            try:
                work()
                code = 0
            except StepcliError as error:
                said.write(f"{type(error).__name__}: {error}")
                code = SAID
            except OSError as error:
                traceback.print_exc(file=said)
                if error.errno in MENDABLE:
                    code = SAID
            except BaseException:  # noqa: BLE001 (told by the exit code)
                traceback.print_exc(file=said)
    finally:
        os._exit(code)


def count_calls(base: Path, folder: Path, action: Action, form: Format) -> Counter[str]:
    """How many calls of each kind an action makes, without a fault."""
    root = folder / "counting"
    copy_stores(base, root, action)
    told = folder / "counts"

    def work() -> None:
        faults = Faults(root)
        faults.install()
        action.run(root, form)
        told.write_text(" ".join(f"{kind}={count}" for kind, count in faults.counts.items()))

    if in_child(work, folder / "log"):
        raise AssertionError((folder / "log").read_text())
    shutil.rmtree(root)
    pairs = (pair.split("=") for pair in told.read_text().split())
    return Counter({kind: int(count) for kind, count in pairs})


def check(root: Path, action: Action, form: Format, succeeded: bool) -> None:
    """What must hold of the folder now."""
    if action.check is not None:
        action.check(root, form, succeeded)
    elif succeeded:
        check_done(root, action)
    else:
        check_kept(root, action)


def make_all(base: Path, form: Format, actions: Sequence[str]) -> None:
    """Everything that the actions begin with."""
    make_stores(base, form)
    if COMMANDS.keys() & set(actions):
        make_commands(base, form)


def run_round(base: Path, folder: Path, fault: Fault) -> str:
    """One round; what was wrong, "" when nothing was."""
    action, root, log = ALL[fault.action], folder / "round", folder / "log"
    shutil.rmtree(root, ignore_errors=True)
    copy_stores(base, root, action)

    def work() -> None:
        Faults(root, fault.kind, fault.error, fault.number).install()
        action.run(root, fault.form)

    code = in_child(work, log)
    said = log.read_text()
    if code not in (0, SAID):
        return f"ended with {code}: {said}"
    if fault.error == SHORT and code:
        return f"half a call is no error: {said}"
    if in_child(lambda: check(root, action, fault.form, code == 0), log):
        return f"after exit code {code} ({said}): {log.read_text()}"
    if in_child(lambda: action.run(root, fault.form), log):
        return f"run again after {said}: {log.read_text()}"
    if in_child(lambda: check(root, action, fault.form, True), log):
        return f"when run again after {said}: {log.read_text()}"
    return ""


def all_faults(base: Path, folder: Path, action: Action, form: Format) -> list[Fault]:
    """Every fault that an action can meet."""
    counts = count_calls(base, folder, action, form)
    return [
        Fault(action.name, form, kind, error, number)
        for kind, errors in ERRORS.items()
        for error in errors
        for number in range(counts[kind])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="drawn of all (0 = all)")
    parser.add_argument("--actions", nargs="*", default=list(ALL), choices=list(ALL))
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no round afterwards")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = LocalPath(name).resolve()
        faults: list[Fault] = []
        for form in given.formats:
            base = folder / form
            if in_child(
                lambda base=base, form=form: make_all(base, form, given.actions), folder / "log"
            ):  # type: ignore[misc]
                raise AssertionError((folder / "log").read_text())
            for action in given.actions:
                found = all_faults(base, folder, ALL[action], form)
                sys.stdout.write(f"{action} {form}: {len(found)} possible faults\n")
                faults += found
        total = len(faults)
        drawn = random.Random(given.seed).sample(faults, given.rounds or total)
        end = time.monotonic() + 60 * given.minutes
        done: Counter[str] = Counter()
        for fault in drawn:
            if time.monotonic() > end:
                break
            text = run_round(folder / fault.form, folder, fault)
            done[f"{fault.action} {fault.form}"] += 1
            if text:
                wrong += 1
                sys.stdout.write(f"WRONG {fault}: {text}\n")
                sys.stdout.flush()
        for what, count in sorted(done.items()):
            sys.stdout.write(f"{what}: {count} rounds\n")
    sys.stdout.write(f"{done.total()} of {total} faults, {wrong} wrong\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
