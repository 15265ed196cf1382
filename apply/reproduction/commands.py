"""A recipe's commands: as text to copy, and run one after the other."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from stepcli.apply.reproduction.recipe import Recipe
from stepcli.extract.engines.several_devices import wait_for
from stepcli.runtime.errors import StepcliError
from stepcli.runtime.files import disk_errors, replace_synced
from stepcli.runtime.terminal import say, warn

QUARANTINED = 3
"""Exit code of an extraction that left out unreadable videos."""
SAME_RESULT = {
    *("--device", "--devices", "--workers", "--batch", "--clip-timeout", "--compile", "--format"),
    *("--part-clips", "--part-seconds", "--part-megabytes", "--retry-failed", "--decoder"),
}
"""Options of an extraction after which it is still the recipe's."""

CHANGED = "# changed: "

Runner = Callable[[Sequence[str]], int]
"""Runs `stepcli WORDS...` and returns its exit code."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A recipe with its places and the options added to its commands."""

    recipe: Recipe
    root: Path
    out: Path
    backbone: str
    device: str = "auto"
    extract_with: tuple[str, ...] = ()
    sweep_with: tuple[str, ...] = ()

    @property
    def store(self) -> Path:
        """Where the tokens go."""
        return self.out / "store"

    @property
    def runs(self) -> Path:
        """Where the runs go."""
        return self.out / "runs"

    @property
    def sweep_file(self) -> Path:
        """Where the sweep is written."""
        return self.out / "sweep.yaml"

    @property
    def sweep_text(self) -> str:
        """The sweep as YAML."""
        text: str = yaml.safe_dump(self.recipe.sweep, sort_keys=False, default_flow_style=None)
        return text

    @property
    def extraction(self) -> list[str]:
        """Words of the extraction."""
        words = [word.format(backbone=self.backbone) for word in shlex.split(self.recipe.extract)]
        places = ["--root", str(self.root), "--store", str(self.store), "--device", self.device]
        return ["extract", *words, *places, *self.extract_with]

    @property
    def sweeping(self) -> list[str]:
        """Words of the sweep."""
        places = ["--store", str(self.store), "--runs", str(self.runs), "--device", self.device]
        return ["sweep", str(self.sweep_file), *places, *self.sweep_with]

    @property
    def log(self) -> Path:
        """Every command that was run, and what was changed about it."""
        return self.out / "commands.txt"

    @property
    def changes(self) -> list[str]:
        """What makes this another experiment than the recipe's, here or in an earlier call."""
        found = []
        if self.log.is_file():
            lines = self.log.read_text().splitlines()
            found += [line.removeprefix(CHANGED) for line in lines if line.startswith(CHANGED)]
        flags = {word.partition("=")[0] for word in self.extract_with if word.startswith("--")}
        if flags - SAME_RESULT:
            found.append(f"extracted with {shlex.join(self.extract_with)}")
        if self.sweep_with:
            found.append(f"swept with {shlex.join(self.sweep_with)}")
        if self.sweep_file.is_file() and self.sweep_file.read_text() != self.sweep_text:
            found.append(f"{self.sweep_file} was edited")
        return list(dict.fromkeys(found))


def script(plan: Reproduction) -> str:
    """The commands as a shell script, with what is known of the protocol as comments."""
    recipe = plan.recipe
    remarks = [*described(recipe), f"Layout of the data: stepcli datasets show {recipe.dataset}"]
    sweep, log = shlex.quote(str(plan.sweep_file)), shlex.quote(str(plan.log))
    table = ["reproduce", recipe.name, "--out", str(plan.out), "--table"]
    lines = [
        *(f"# {line}".rstrip() for line in remarks),
        shlex.join(["mkdir", "-p", str(plan.out)]),
        # A sweep that was edited stays.
        f"test -e {sweep} || cat > {sweep} <<'END'",
        f"{plan.sweep_text}END",
        *(f"echo {shlex.quote(CHANGED + each)} >> {log}" for each in plan.changes),
        *(shlex.join(["stepcli", *words]) for words in (plan.extraction, plan.sweeping, table)),
    ]
    return "\n".join(lines)


def described(recipe: Recipe) -> list[str]:
    """What a recipe is, and how sure it is, line by line."""
    return [
        f"{recipe.name}: {recipe.title} ({recipe.source})",
        f"How sure: {recipe.certainty}",
        "Stated by the source:",
        *(f"  - {line}" for line in recipe.stated),
        "Not stated or not read; chosen here:",
        *(f"  - {line}" for line in recipe.chosen),
    ]


def run_commands(plan: Reproduction, run: Runner) -> None:
    """Write the sweep's file, extract, sweep; a sweep's file that is there stays as it is.

    Raises:
        CommandFailed: a command ended with an error, which it has printed.
    """
    if not plan.sweep_file.exists():
        with disk_errors(plan.sweep_file):
            plan.out.mkdir(parents=True, exist_ok=True)
            replace_synced(plan.sweep_file, plan.sweep_text.encode())
    with disk_errors(plan.log), plan.log.open("a", encoding="utf-8") as log:
        log.writelines(f"{CHANGED}{each}\n" for each in plan.changes)
    for words in (plan.extraction, plan.sweeping):
        line = shlex.join(["stepcli", *words])
        with disk_errors(plan.log), plan.log.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")
        say(f"$ {line}")
        code = run(words)
        if code == QUARANTINED and words[0] == "extract":
            warn("note: some clips could not be read; the numbers are of all others")
        elif code:
            raise CommandFailed(line, code)


class CommandFailed(StepcliError):
    """A command of a recipe ended with an error."""

    def __init__(self, line: str, code: int) -> None:
        super().__init__(f"`{line}` ended with exit code {code}; its message is above")
        self.code = code


def run_alone(words: Sequence[str]) -> int:
    """Run `stepcli WORDS...` in a process of its own, which sets up its threads and memory.

    Ctrl-C and SIGTERM reach it too; it keeps what is finished before this process ends.
    """
    return wait_for([subprocess.Popen([sys.executable, "-P", "-m", "stepcli.cli", *words])])
