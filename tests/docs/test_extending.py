"""The examples of docs/extending.md: as files, and as an installed package."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import call, invoke
from installed_package import Installer
from test_commands import FENCE, commands_of
from test_guides import run

from stepcli.cache import open_store

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text()


def written() -> Iterator[tuple[str, str]]:
    """The page's Python files."""
    for match in FENCE.finditer(TEXT):
        if match[1] == "python":
            yield re.findall(r"`(\w+\.py)`", TEXT[: match.start()])[-1], match[2]


def test_the_examples_run_as_files(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPCLI_STATE", str(tmp_path / "state"))
    for name, code in written():
        Path(name).write_text(code)
    (shell,) = (block for language, block in FENCE.findall(TEXT) if language == "sh")
    for line in commands_of(shell):
        run(line)
    store = open_store(tmp_path / "stores" / "mine")
    assert store.spec.backbone == "my_model.py:build"
    assert len(store.spec.code_digest) == 64
    assert store.spec.clip_shape == (4, 4, 32)
    # fold=1: videos 1 and 5 of the eight of each class.
    tested = {row.id for row in store.clips() if row.split == "test"}
    assert tested == {f"{label}/{n:03}" for label in ("open", "close") for n in (1, 5)}
    # What the run needs is asked for, file by file, then used.
    (trained,) = Path("runs").glob("LastMinusFirst-*")
    words = ("predict", trained, "--video", "new.mp4")
    said = invoke(*words)
    assert said.exit_code == 2
    asked = re.search(r"stepcli trust (\S+)", said.stderr)
    assert asked is not None
    consent = re.search(r"`(stepcli trust [^`]+)`", TEXT)
    assert consent is not None
    run(consent[1])
    assert "open" in call(*words)
    call("export", trained, "--out", "out")
    card = Path("out", trained.name, "README.md").read_text()
    for name in ("my_probe.py:LastMinusFirst", "my_model.py:build"):
        assert re.search(rf"^- `{name}`: .* sha256 `[0-9a-f]{{64}}`$", card, re.MULTILINE)
    # Other code is not mixed into the store.
    Path("my_model.py").write_text(Path("my_model.py").read_text() + "# other\n")
    done = invoke(*shell_words(shell)[0])
    assert done.exit_code == 2
    assert "code_digest: store" in done.stderr
    done = invoke(*words)
    assert done.exit_code != 0
    assert "(other code now)" in done.stderr


def shell_words(block: str) -> list[list[str]]:
    return [line.split()[1:] for line in commands_of(block)]


def test_the_examples_run_as_a_package(workplace: Path, install: Installer) -> None:
    (toml,) = (block for language, block in FENCE.findall(TEXT) if language == "toml")
    groups = tomllib.loads(toml)["project"]["entry-points"]
    codes = dict(written())
    for group, entries in groups.items():
        ((name, value),) = entries.items()
        module = value.partition(":")[0]
        install(module, codes[f"{module}.py"], {f"{group}: {name}": value})
    words = ("--frames", 4, "--tokens", "grid2", "--store", "stores/packaged")
    mine = ("--dataset", "mine", "--root", "videos", "--set", "fold=1")
    call("extract", *mine, "--backbone", "patches", *words)
    store = open_store(workplace / "stores" / "packaged")
    assert store.spec.backbone == "patches"
    assert len(store.spec.code_digest) == 64
    call("probe", "--method", "last-minus-first", "--epochs", 1, "--store", "stores/packaged")
    (trained,) = Path("runs").glob("last-minus-first-*")
    assert "open" in call("predict", trained, "--video", "new.mp4")
    for listing, name in (
        (("methods",), "last-minus-first"),
        (("datasets", "list"), "mine"),
        (("backbones",), "patches"),
    ):
        assert re.search(rf"^{name} ", call(*listing), re.MULTILINE)
    assert "<root>/<class>/<number>.mp4" in call("datasets", "show", "mine")
