"""Several devices: the same command once each, on shares of the data set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepcli.cache import open_store
from stepcli.extract.engines.several_devices import device_names
from stepcli.runtime.errors import UsageError


def test_two_processes_fill_one_store(
    stepcli: Any, model_folder: Callable[[str], Path], tmp_path: Path, openclose_clips: list[Path]
) -> None:
    table = tmp_path / "clips.csv"
    lines = [f"{path},x" for path in openclose_clips]
    table.write_text("\n".join(["path,label", *lines, "gone.mp4,x"]))
    file = tmp_path / "run.yaml"
    file.write_text("dataset: csv\ntokens: full\ndevices: cpu,cpu\nlayers: [-2, -1]\n")
    words = "--frames 2 --tokens cls --workers 1"
    place = ("--root", table, "--store", tmp_path / "store")
    backbone = f"hf:{model_folder('dinov2')}"
    done = stepcli("extract", "--config", file, *words.split(), *place, "--backbone", backbone)
    assert done.returncode == 3, done.stderr
    store = open_store(tmp_path / "store")
    assert len(store) == 16
    assert (store.spec.layers, store.spec.segments[0].name) == ((-2, -1), "cls")
    assert store.quarantined().keys() == {"gone.mp4"}
    assert len(store.clips()) == 17
    assert "(share 0 of 2)" in done.stderr
    assert "(share 1 of 2)" in done.stderr


def test_names_of_devices() -> None:
    assert device_names("0,1, cpu") == ["cuda:0", "cuda:1", "cpu"]
    with pytest.raises(UsageError, match="expected numbers"):
        device_names("0,")
