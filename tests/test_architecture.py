"""The house's rules that a machine can hold: who imports whom, and how light the door is."""

import ast
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

# Which rooms a room may import; the door (cli.py) may import all of them.
MAY_IMPORT = {
    "runtime": {"runtime"},
    "cache": {"runtime", "cache"},
    "extract": {"runtime", "cache", "extract"},
    "probe": {"runtime", "cache", "probe"},
    "apply": {"runtime", "cache", "extract", "probe", "apply"},
    "examples": {"runtime", "cache", "probe", "examples"},
}
# What a room holds, lowest first: nothing imports a later one. Beside them lies only __init__.py.
FLOORS = {
    "cache": ("storage", "schema", "parts", "tables", "store", "maintenance", "cli"),
    "extract": (
        *("config", "datasets", "sources", "decode", "backbones"),
        *("pipeline", "engines", "cli"),
    ),
    "probe": (
        *("config", "data", "nn", "methods", "training"),
        *("runs", "sweeps", "analysis", "report", "cli"),
    ),
    "apply": ("pictures", "prediction", "sharing", "reproduction", "cli"),
}
HEAVY = {
    "jinja2",
    "matplotlib",
    "torch",
    "transformers",
    "zarr",
    "h5py",
    "av",
    "numpy",
    "pyarrow",
    "pydantic",
    "PIL",
}
CACHE_NEVER = {"torch", "transformers", "av"}


def imported_modules(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, at any depth of the code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_files(project: Path, room: str) -> list[Path]:
    files = sorted((project / room).rglob("*.py"))
    assert files, f"{room}/ holds no Python files"
    return files


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_only_the_agreed_way(project: Path, room: str) -> None:
    wrong = {
        f"{path.relative_to(project)} imports {name}"
        for path in room_files(project, room)
        for name in imported_modules(path)
        if name.startswith("stepcli.") and name.split(".")[1] not in MAY_IMPORT[room]
    }
    assert not wrong


@pytest.mark.parametrize("room", FLOORS)
def test_a_rooms_parts_import_only_lower_ones(project: Path, room: str) -> None:
    floors = FLOORS[room]
    found = {path.parent.name for path in (project / room).glob("*/__init__.py")}
    found |= {path.stem for path in (project / room).glob("*.py")} - {"__init__"}
    assert set(floors) == found
    wrong = {
        f"{path.relative_to(project)} imports {name}"
        for number, floor in enumerate(floors)
        for path in part_files(project / room, floor)
        for name in imported_modules(path)
        for later in floors[number + 1 :]
        if f"{name}.".startswith(f"stepcli.{room}.{later}.")
    }
    assert not wrong


def part_files(room: Path, floor: str) -> list[Path]:
    module = room / f"{floor}.py"
    return [module] if module.exists() else room_files(room, floor)


def test_no_module_imports_one_that_imports_it(project: Path) -> None:
    """Also where the import stands in a function or is for types only, and over several files."""
    modules = {
        ".".join(("stepcli", *path.relative_to(project).with_suffix("").parts)): path
        for room in MAY_IMPORT
        for path in room_files(project, room)
        if path.name != "__init__.py"
    }
    below = {
        name: {imported for imported in imported_modules(path) if imported in modules}
        for name, path in modules.items()
    }
    circles = [name for name in below if name in reached(below, name)]
    assert not circles


def reached(below: dict[str, set[str]], start: str) -> set[str]:
    """Every module that one imports, directly or not."""
    found: set[str] = set()
    left = list(below[start])
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(below[name])
    return found


def test_the_picture_in_the_guide_shows_this_order(project: Path) -> None:
    """The Mermaid graph of CONTRIBUTING.md: one chain a room, the rooms' arrows below."""
    page = (project / "CONTRIBUTING.md").read_text()
    drawn = page[page.index("```mermaid") :].partition("\n```\n")[0]
    for room in ("cache", "extract", "probe"):
        chain = drawn.partition(f"subgraph {room}\n")[2].partition("end\n")[0]
        shown = [re.sub(r".*\[(.+)\]", r"\1", each.strip()) for each in chain.split("-->")]
        assert tuple(shown) == FLOORS[room]
    arrows = drawn.rpartition("end\n")[2]
    below: dict[str, set[str]] = {"runtime": set()}
    for line in arrows.splitlines():
        steps = [{each.strip() for each in step.split("&")} for step in line.split("-->")]
        for lower, higher in pairwise(steps):
            for room in higher:
                below.setdefault(room, set()).update(lower)
    for room in ("cache", "extract", "probe", "apply"):
        assert reached(below, room) == MAY_IMPORT[room] - {room}


def test_only_the_storage_asks_what_kind_it_is(project: Path) -> None:
    """Everybody else calls a method of the storage interface."""
    inside = project / "cache" / "storage"
    kinds = {
        node.name
        for path in inside.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert {"StoragePath", "LocalPath", "ObjectPath", "ObjectClient"} <= kinds
    wrong = {
        f"{path.relative_to(project)}:{node.lineno}"
        for room in MAY_IMPORT
        for path in room_files(project, room)
        if inside not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"
        # Path too, since a local storage is one; beside str it is the spelling of an argument.
        if (asked := set(re.findall(r"\w+", ast.unparse(node.args[1])))) & kinds
        or (asked == {"Path"} and room == "cache")
    }
    assert not wrong


def test_the_store_needs_neither_torch_nor_a_decoder(project: Path) -> None:
    wrong = {
        f"{path.relative_to(project)} imports {name}"
        for path in room_files(project, "cache")
        for name in imported_modules(path)
        if name.split(".")[0] in CACHE_NEVER
    }
    assert not wrong


def test_the_door_is_the_only_module_at_the_root(project: Path) -> None:
    assert {path.name for path in project.glob("*.py")} == {"__init__.py", "cli.py"}


def test_importing_the_door_loads_nothing_heavy() -> None:
    assert not loaded_by("import stepcli.cli")


def test_no_command_is_heavy_before_it_runs() -> None:
    """Its options, and what a shell asks for while somebody types a name."""
    loaded = loaded_by(
        "import typer; from stepcli.cli import app;"
        "[each.params for each in typer.main.get_command(app).commands.values()];"
        "from stepcli.extract.cli.completion import complete_backbones, complete_datasets;"
        "complete_backbones(''), complete_datasets('')"
    )
    assert loaded <= {"pydantic"}  # of the configs that options are made from


def loaded_by(code: str) -> set[str]:
    """Heavy packages that our own modules load, besides what Typer brings itself."""
    shown = f"; import sys; print({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}} or ())"
    found = [
        ast.literal_eval(subprocess.check_output([sys.executable, "-c", each + shown], text=True))
        for each in (code, "import typer")
    ]
    return set(found[0]) - set(found[1])


def test_every_package_is_listed_for_the_wheel(project: Path) -> None:
    """One that is missing works in an editable install and breaks in the wheel."""
    listed = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {"stepcli"} | {
        ".".join(("stepcli", *path.parent.relative_to(project).parts))
        for room in MAY_IMPORT
        for path in (project / room).rglob("__init__.py")
    }
    assert set(listed["packages"]) == found


def test_one_class_name_means_one_thing(project: Path) -> None:
    """Over all rooms; classes that a module keeps to itself begin with an underscore."""
    homes: dict[str, list[str]] = {}
    for room in MAY_IMPORT:
        for path in room_files(project, room):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes.setdefault(node.name, []).append(str(path.relative_to(project)))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}
