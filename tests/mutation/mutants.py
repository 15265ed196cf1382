"""Mutation testing: would a test notice if this line were wrong?

    python tests/mutation/mutants.py --only cache/schema/spec.py [--seconds 120]

Each mutant is one small change of one file (cosmic-ray's operators: another comparison, another
arithmetic, a number one off, a condition turned round, a loop that does not run ...). The file's
own fast tests run on it; a mutant that they do not notice survives, and is printed. Results are
kept in build/mutation/, one JSON per file.

Cosmic-ray and mutmut start a process a mutant, and mutmut takes a module's name from its path,
which the package-dir layout does not have. Here a process that has imported the libraries forks
for every mutant and loads the changed source in place of the module: a mutant costs its tests.
"""

import argparse
import ast
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CACHE = "tests/cache/"
STORE = (CACHE + "parts/test_parts.py", CACHE + "schema/test_spec.py")
REMOTE = (CACHE + "parts/test_remote_parts.py", STORE[0])
HANDED_OVER = (CACHE + "storage/test_handed_over.py", CACHE + "tables/test_lying_tables.py")
PARTS = CACHE + "parts/test_parts.py::test_"
TARGETS: dict[str, tuple[str, ...]] = {
    "cache/schema/spec.py": STORE,
    "cache/schema/quantize.py": (CACHE + "schema/test_quantize.py",),
    "cache/parts/files.py": (REMOTE[0], CACHE + "parts/test_part_files.py"),
    "cache/parts/commit.py": (*REMOTE, CACHE + "storage/test_writer_identity.py"),
    "cache/parts/index.py": (
        CACHE + "parts/test_part_index.py",
        PARTS + "a_part_is_committed_once_and_only_whole",
        *HANDED_OVER,
    ),
    "cache/parts/open_part.py": STORE,
    "cache/storage/writer_identity.py": (CACHE + "storage/test_writer_identity.py",),
    "cache/parts/compressed.py": (CACHE + "parts/test_compressed.py",),
    "cache/storage/file_reader.py": (CACHE + "storage/test_file_reader.py",),
    "cache/parts/record.py": STORE,
    "cache/parts/scan.py": (
        PARTS + "damaged_clips_are_told_from_whole_ones",
        REMOTE[0],
        CACHE + "parts/test_compressed.py",
    ),
    "cache/parts/tombstones.py": STORE,
    "cache/storage/uploads.py": (REMOTE[0],),
    "probe/nn/folded.py": ("tests/probe/nn/test_folded.py",),
    "probe/runs/stats.py": ("tests/probe/runs/test_stats.py",),
}
"""File -> its fast tests."""
LIBRARIES = (
    *("h5py", "hypothesis", "numpy", "pyarrow.parquet"),
    *("pydantic", "pytest", "torch", "typer.testing", "zarr"),
)
VARIANTS = 2
"""Maximum number of changes that one operator family makes at one place, e.g. + to -, *, /, %."""
CPU_SECONDS = 60
"""A mutant that takes longer runs in circles: noticed."""
WAIT_SECONDS = 120
"""As does one that takes so long by the clock, which sleeps or waits for what never comes."""


@dataclass(frozen=True)
class Mutant:
    """One change."""

    operator: str
    occurrence: int
    line: int
    column: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TARGETS, action="append")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of each file")
    asked = parser.parse_args()
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the plugins' libraries are imported here
    for name in LIBRARIES:
        import_module(name)
    survivors = 0
    for file in asked.only or TARGETS:
        survivors += test_file(file, asked.seconds)
    return 0 if survivors == 0 else 1


def test_file(file: str, seconds: float) -> int:
    """Try the mutants of one file, or in that many seconds a random part; how many survive."""
    source = (ROOT / file).read_text()
    if run_tests(file, source) != "survived":
        raise SystemExit(f"{file}: its tests fail as it is")
    found = list(mutants(source))
    random.Random(file).shuffle(found)
    started = time.monotonic()
    ended = {"noticed": 0, "ran in circles": 0, "survived": 0}
    kept: list[dict[str, Any]] = []
    for mutant in found:
        if time.monotonic() - started > seconds:
            break
        changed = apply(source, mutant)
        if changed == source:
            continue
        how = run_tests(file, changed)
        ended[how] += 1
        if how == "survived":
            lines = zip(source.splitlines(), changed.splitlines(), strict=False)
            old, new = next((a, b) for a, b in lines if a != b)
            kept.append({**asdict(mutant), "was": old.strip(), "is": new.strip()})
            say(f"{file}:{mutant.line}: {old.strip()}  ->  {new.strip()}")
    tried = sum(ended.values())
    say(
        f"{file}: {tried} of {len(found)} mutants, {ended['noticed']} noticed, "
        f"{ended['ran in circles']} in circles, {ended['survived']} survived "
        f"({time.monotonic() - started:.0f} s)"
    )
    folder = ROOT / "build" / "mutation"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{file.replace('/', '.').removesuffix('.py')}.json"
    content = {"file": file, "mutants": len(found), **ended, "survivors": kept}
    (folder / name).write_text(json.dumps(content, indent=1))
    return ended["survived"]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def mutants(source: str) -> Iterator[Mutant]:
    """The changes to try, the same for the same source; types, which nothing checks, left out."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    tree = get_ast(source)
    ignored = annotations(source)
    families: dict[tuple[str, int, int], list[Mutant]] = {}
    for name in sorted(operator_names()):
        if any(kind in name for kind in ("Variable", "NoOp", "Decorator")):
            continue
        operator = get_operator(name)()
        occurrence = 0
        for node in ast_nodes(tree):
            for (line, column), _ in operator.mutation_positions(node):
                family = name.partition("_")[0]
                if (line, column) not in ignored:
                    mutant = Mutant(name, occurrence, line, column)
                    families.setdefault((family, line, column), []).append(mutant)
                occurrence += 1
    for place, found in sorted(families.items()):
        chosen = random.Random(str(place)).sample(found, min(VARIANTS, len(found)))
        yield from sorted(chosen, key=lambda mutant: mutant.operator)


def annotations(source: str) -> set[tuple[int, int]]:
    """Places within type annotations."""
    found: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(source)):
        kinds = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for kind in kinds:
            if isinstance(kind, ast.expr):
                for line in range(kind.lineno, (kind.end_lineno or kind.lineno) + 1):
                    first = kind.col_offset if line == kind.lineno else 0
                    last = (kind.end_col_offset or 0) if line == kind.end_lineno else 200
                    found.update((line, column) for column in range(first, last))
    return found


def apply(source: str, mutant: Mutant) -> str:
    """The source with one change; as it is where cosmic-ray cannot make that change."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    try:
        changed = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    except AttributeError:  # an exception with a dotted name, in a tuple
        return source
    return source if changed is None else str(changed)


def run_tests(file: str, source: str) -> str:
    """Test a file with another source of it, in a fork: "noticed" where one fails."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            signal.alarm(WAIT_SECONDS)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            sys.meta_path.insert(0, Replaced(file, source))
            import pytest

            code = int(pytest.main(["-xq", "-p", "no:cacheprovider", *TARGETS[file]]))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        circles = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL)
        return "ran in circles" if circles else "noticed"
    return "survived" if os.WEXITSTATUS(status) == 0 else "noticed"


class Replaced(MetaPathFinder):
    """Finds one module of ours with another source."""

    def __init__(self, file: str, source: str) -> None:
        self._name = "stepcli." + file.removesuffix(".py").replace("/", ".")
        self._path = ROOT / file
        self._source = source

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        """The module, where it is the one."""
        if name != self._name:
            return None
        loader = _Loader(name, str(self._path))
        loader.changed = self._source
        return spec_from_file_location(name, self._path, loader=loader)


class _Loader(SourceFileLoader):
    changed = ""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.changed, self.path, "exec")


if __name__ == "__main__":
    sys.exit(main())
