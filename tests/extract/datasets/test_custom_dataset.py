"""Data sets from outside: a function in a user's own file, or of an installed package."""

from pathlib import Path

import pytest
from command_line import call
from installed_package import Installer

from stepcli.extract.datasets.registry import (
    DATASETS,
    GROUP,
    code_of,
    find_dataset,
    known_names,
    load_dataset,
)
from stepcli.runtime.errors import UnknownName, UsageError

CODE = '''
from pathlib import Path
from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo

def load(root: Path, fold: int = 0, flip: bool = False):
    """<root>/*.mp4"""
    for number, path in enumerate(sorted(root.glob("*.mp4"))):
        yield Clip(path.stem, path, "ba"[number % 2], "test" if number == fold else "train")

def ordered(root):
    clips = tuple(load(root))
    return Dataset("mine", clips, class_rows(["b", "a"], partners=[("a", "b")]), ("a note",))

def strict(root: Path, view: str = "left"):
    INFO.option({"view": view}, "view", "left", "left", "right")
    return ordered(root)

def fails(root):
    return [][0]

def wrong(root):
    return ["a.mp4"]

def nothing(root):
    return ()

def without_default(root, fold): ...

INFO = DatasetInfo("any", lambda root, options: ordered(root), "layout", "source", {"x": "y"})
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_data.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.mp4").touch()
    return folder


def test_a_function_is_a_data_set_with_options(file: Path, root: Path) -> None:
    info = find_dataset(f"{file}:load")
    assert (info.name, info.layout) == ("my_data-load", "<root>/*.mp4")
    assert info.options == {"fold": "default 0", "flip": "default False"}
    made = load_dataset(f"{file}:load", root, {"fold": "2"})
    assert [clip.split for clip in made.clips] == ["train", "train", "test", "train"]
    assert [row.name for row in made.classes] == ["a", "b"]
    assert made.root == root
    (place, identity), *_ = code_of(f"{file}:load").items()
    assert place == "my_data.py:load"
    assert made.notes == (f"listed by {place} {identity}",)
    file.write_text(CODE + "# changed\n")
    assert code_of(f"{file}:load") != {place: identity}
    assert "fold     default 0" in call("datasets", "show", f"{file}:load")


def test_a_data_set_may_order_its_classes(file: Path, root: Path) -> None:
    for name in ("ordered", "INFO"):
        made = load_dataset(f"{file}:{name}", root, {})
        assert [(row.name, row.partner) for row in made.classes] == [("b", "a"), ("a", "b")]
        assert made.notes[0] == "a note"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("load", {"fold": "x"}, "my_data.py:load: option fold='x': Input should be a valid int"),
        ("load", {"fodl": "1"}, "did you mean fold"),
        ("strict", {"view": "top"}, "option view='top' is not known"),
        ("fails", {}, "my_data.py:fails failed on --root .*: IndexError: list index"),
        ("wrong", {}, "my_data.py:wrong gave str 'a.mp4'; expected Clip"),
        ("nothing", {}, "no clips were found"),
        ("without_default", {}, "its parameter fold needs a default"),
        ("laod", {}, "did you mean load"),
    ],
)
def test_mistakes_are_one_line(
    name: str, options: dict[str, str], said: str, file: Path, root: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        load_dataset(f"{file}:{name}", root, options)


def test_a_file_that_is_not_there_or_does_not_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--dataset none.py:load: there is no file none.py"):
        find_dataset("none.py:load")
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    with pytest.raises(UsageError, match=r"broken.py does not run \(ZeroDivisionError"):
        find_dataset(f"{broken}:load")
    assert code_of(f"{broken}:load") == {}


def test_packages_add_data_sets(install: Installer, root: Path) -> None:
    offered = {f"{GROUP}: mine": "data_a:load", f"{GROUP}: hmdb51": "data_a:load"}
    install("data_a", CODE, offered)
    install("data_b", "1 / 0", {f"{GROUP}: broken": "data_b:load"})
    install("data_c", CODE, {f"{GROUP}: cls": "data_c:Clip"})
    assert {"mine", "broken", "cls"} <= set(known_names())
    assert len(load_dataset("mine", root, {"fold": "1"}).clips) == 4
    assert code_of("mine")["data_a:load"].startswith("data_a 1.0, sha256 ")
    assert find_dataset("ucf101") is DATASETS["ucf101"]
    for name, said in (
        ("hmdb51", r"by stepcli itself and by data_a 1.0 \(data_a:load\)"),
        ("broken", r"broken of the package data_b 1.0 \(data_b:load\) cannot be loaded"),
        ("cls", "data_c:Clip is no function or DatasetInfo"),
    ):
        with pytest.raises(UsageError, match=said):
            find_dataset(name)
    with pytest.raises(UnknownName, match="did you mean mine"):
        find_dataset("mien")
    assert re_listed(call("datasets", "list"), "broken", "package data_b 1.0")


def re_listed(text: str, name: str, said: str) -> bool:
    return any(line.startswith(f"{name} ") and line.endswith(said) for line in text.splitlines())


def test_every_module_with_an_info_is_a_data_set(project: Path) -> None:
    declared = [
        path.stem
        for path in (project / "extract" / "datasets").glob("*.py")
        if "\nINFO = " in (text := path.read_text()) or "\nINFOS = " in text
    ]
    assert len(declared) == 16
    assert len(DATASETS) == 19


def test_the_default_store_of_a_file_has_a_plain_name(tmp_path: Path) -> None:
    from stepcli.extract.config import ExtractConfig
    from stepcli.extract.pipeline.default_store import default_store

    request = ExtractConfig(
        dataset="d/my_data.py:load", root=tmp_path, backbone="m/my_model.py:build", frames=4
    )
    name = default_store(request, None).name
    assert name == "my_data-load-my_model-build-4f-grid4"
