"""What the source of a checkout says: lines, imports and circles, checks of kinds, options."""

import ast
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONG = 300
ANY_DICT = re.compile(r"\bdict\[\s*str,\s*Any\s*\]")
STORAGE_ROOMS = ("storage", "remote")
BESIDE = ("__init__.py", "config.py")


@dataclass(frozen=True)
class Counts:
    product_files: int
    product_lines: int
    test_lines: int
    any_dicts: int
    storage_checks: dict[str, int]
    """isinstance on a kind of storage, by file."""
    storage_checks_outside: int
    """Of those, outside the room whose business it is (`STORAGE_ROOMS`)."""
    loose: dict[str, int]
    """Modules beside sub-rooms, by room."""
    circles: list[list[str]]
    """Of imports that happen as modules load."""
    late_circles: list[list[str]]
    """With those inside functions too."""
    typing_circles: list[list[str]]
    """With those under TYPE_CHECKING too."""
    long_files: dict[str, int]
    options: int
    """Calls of typer.Option and typer.Argument."""


def count(root: Path) -> Counts:
    """Count a checkout; raises SystemExit where it is no checkout of the project."""
    tracked = subprocess.check_output(["git", "ls-files", "*.py"], cwd=root, text=True).splitlines()
    folders = _package_folders(root)
    product = [path for path in tracked if str(Path(path).parent) in folders]
    tests = [path for path in tracked if path.startswith("tests/")]
    sources = {path: (root / path).read_text() for path in (*product, *tests)}
    trees = {path: ast.parse(sources[path]) for path in product}
    lines = {path: len(source.splitlines()) for path, source in sources.items()}
    checks = storage_checks(trees)
    return Counts(
        product_files=len(product),
        product_lines=sum(lines[path] for path in product),
        test_lines=sum(lines[path] for path in tests),
        any_dicts=sum(len(ANY_DICT.findall(sources[path])) for path in product),
        storage_checks=checks,
        storage_checks_outside=sum(n for path, n in checks.items() if not _is_storage(path)),
        loose=_loose(product),
        circles=circles(trees, late=False, typing=False),
        late_circles=circles(trees, late=True, typing=False),
        typing_circles=circles(trees, late=True, typing=True),
        long_files={path: lines[path] for path in product if lines[path] > LONG},
        options=sum(map(_options, trees.values())),
    )


def _package_folders(root: Path) -> set[str]:
    """Folders of the wheel's packages, from the checkout's root; "." is that of the door."""
    tools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    top = tools["package-dir"]["stepcli"]
    return {str(Path(top, *name.split(".")[1:])) for name in tools["packages"]}


def _loose(product: list[str]) -> dict[str, int]:
    """Modules at the top of a room that has sub-rooms, other than `BESIDE`."""
    rooms = {Path(path).parts[0] for path in product if len(Path(path).parts) > 2}
    found = Counter(
        Path(path).parts[0]
        for path in product
        if len(Path(path).parts) == 2 and Path(path).name not in BESIDE
    )
    return {room: found[room] for room in sorted(rooms)}


def _is_storage(path: str) -> bool:
    return any(room in Path(path).parts[:-1] for room in STORAGE_ROOMS)


def storage_checks(trees: dict[str, ast.Module]) -> dict[str, int]:
    """isinstance calls by file whose classes are kinds of storage and nothing else.

    Kinds are Path, and the classes defined in the rooms of storage but for errors. A check that
    also allows str is one of an argument's spelling, and not counted.
    """
    kinds = {"Path"} | {
        node.name
        for path, tree in trees.items()
        if _is_storage(path)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.endswith("Error")
    }
    found: Counter[str] = Counter()
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if _calls(node, "isinstance") and len(node.args) == 2:  # type: ignore[attr-defined]
                classes = set(_names(node.args[1]))  # type: ignore[attr-defined]
                found[path] += bool(classes) and classes <= kinds
    return {path: number for path, number in found.items() if number}


def _names(node: ast.expr) -> Iterator[str]:
    """Classes of an isinstance: A, module.A, A | B, (A, B)."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.BinOp):
        yield from (*_names(node.left), *_names(node.right))
    elif isinstance(node, ast.Tuple):
        for each in node.elts:
            yield from _names(each)


def _calls(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in names


def _options(tree: ast.Module) -> int:
    return sum(_calls(node, "typer.Option", "typer.Argument") for node in ast.walk(tree))


def circles(trees: dict[str, ast.Module], *, late: bool, typing: bool) -> list[list[str]]:
    """Groups of files of which each imports, by way of others, all of its group; largest first.

    That importing a.b loads a/__init__.py too is no edge: it would make circles of all packages
    whose door says what they export.
    """
    modules = {_module(path): path for path in trees}
    edges = {
        path: {modules[name] for name in _imported(tree, modules, late, typing) if name in modules}
        - {path}
        for path, tree in trees.items()
    }
    groups = [sorted(group) for group in _components(edges) if len(group) > 1]
    return sorted(groups, key=lambda group: (-len(group), group))


def _module(path: str) -> str:
    parts = Path(path).with_suffix("").parts
    return ".".join(("stepcli", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _imported(tree: ast.Module, modules: dict[str, str], late: bool, typing: bool) -> Iterator[str]:
    for node in _reached(tree, late, typing):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def _reached(node: ast.AST, late: bool, typing: bool) -> Iterator[ast.AST]:
    """Nodes below one, without the bodies that are not asked for."""
    for child in ast.iter_child_nodes(node):
        if not late and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and not typing:
            for other in child.orelse:
                yield other
                yield from _reached(other, late, typing)
            continue
        yield child
        yield from _reached(child, late, typing)


def _components(edges: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components: two files are in one where each reaches the other."""
    reach = {start: _reachable(edges, start) for start in edges}
    groups: list[set[str]] = []
    for start in edges:
        if not any(start in group for group in groups):
            groups.append({start} | {end for end in reach[start] if start in reach[end]})
    return groups


def _reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        for end in edges[left.pop()]:
            if end not in found:
                found.add(end)
                left.append(end)
    return found
