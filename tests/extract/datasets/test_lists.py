"""Lists that data sets come with, and what the commands list and take apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stepcli.cli import app
from stepcli.extract.backbones.names import BACKBONES
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.files import (
    note_missing,
    read_lines,
    whole_number,
)
from stepcli.extract.datasets.registry import DATASETS
from stepcli.runtime.csv_tables import read_csv, read_rows
from stepcli.runtime.errors import UsageError
from stepcli.runtime.settings import validated


@pytest.mark.parametrize(
    ("content", "read", "message"),
    [
        (b"caf\xe9\n", read_lines, "expected UTF-8 text, but"),
        (
            b"a,b\ncaf\xe9,1\n",
            lambda file: read_csv(file, "a"),
            "expected a CSV file in UTF-8, got",
        ),
        (
            b"a,b\n",
            lambda file: read_csv(file, ("a", "c")),
            "expected the columns a,c, found a,b; missing: c",
        ),
        (b"", lambda file: read_csv(file, "a"), "found nothing; missing: a"),
        (b"1 2\n3\n", lambda file: read_rows(file, 2, " "), "line 2: expected 2 fields with ' '"),
    ],
)
def test_a_list_that_is_not_as_expected_is_named_with_what_is_wrong(
    content: bytes, read: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message) as refused:
        read(file)
    assert str(refused.value).startswith(str(file))


def test_what_a_list_holds(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbfa,b\r\n\r\n 1,2\n")
    assert read_lines(file) == ["a,b", "1,2"]
    assert read_csv(file, "b") == [{"a": "1", "b": "2"}]
    assert read_rows(file, 2) == [["a", "b"], ["1", "2"]]
    assert whole_number("12", file, "frames") == 12
    with pytest.raises(UsageError, match=r"list\.txt: frames is '1\.5', expected a whole number"):
        whole_number("1.5", file, "frames")
    assert note_missing(5, 5, "videos") == ()
    (note,) = note_missing(5, 3, "videos")
    assert note == "2 of 5 listed videos are not on the disk and are left out"


@pytest.mark.parametrize("text", ["-4,x", "0", "-1,3", ""])
def test_layers_are_counted_from_the_end(text: str) -> None:
    for given in ("-4,-1", (-4, -1), [-4, -1]):
        assert validated(ExtractConfig, {"dataset": "ssv2", "layers": given}).layers == (-4, -1)
    with pytest.raises(
        UsageError, match=f"^--layers {text}: expected numbers counted from the end"
    ):
        validated(ExtractConfig, {"dataset": "ssv2", "layers": text})


def test_options_are_names_with_values() -> None:
    given = {"dataset": "ssv2", "options": ["split=2", "text=a=b"]}
    assert validated(ExtractConfig, given).options == {"split": "2", "text": "a=b"}
    with pytest.raises(UsageError, match=r"^--set text=a split: expected NAME=VALUE"):
        validated(ExtractConfig, given | {"options": ["text=a", "split"]})


def test_data_sets_are_listed_with_those_that_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssv2").mkdir()
    monkeypatch.setenv("STEPCLI_DATA", str(tmp_path))
    lines = CliRunner().invoke(app, ["datasets", "list"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == sorted(DATASETS)
    here = {line.split()[0] for line in lines if line[17:21] == "here"}
    assert here == {"openclose", "ssv2"}


def test_a_data_set_is_shown_with_its_files_and_options() -> None:
    shown = CliRunner().invoke(app, ["datasets", "show", "hmdb51"])
    info = DATASETS["hmdb51"]
    assert info.layout in shown.stdout
    for option, meaning in info.options.items():
        assert f"{option:8} {meaning}" in shown.stdout


def test_backbones_are_listed_with_their_repositories() -> None:
    lines = CliRunner().invoke(app, ["backbones"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(BACKBONES)
    assert "(bundled)" in next(line for line in lines if line.startswith("mobilenet_v2-bundled"))
