"""Several devices: the same command once each, on shares of the data set."""

import json
from pathlib import Path
from typing import Any

import pytest
from light_backbone import light_backbone

from stepcli.cache import open_store
from stepcli.extract.config import ExtractConfig
from stepcli.extract.engines.several_devices import device_names
from stepcli.runtime.errors import UsageError
from stepcli.runtime.settings import keys_of, options_of, validated


def test_two_processes_fill_one_store(
    stepcli: Any, tmp_path: Path, openclose_clips: list[Path]
) -> None:
    table = tmp_path / "clips.csv"
    lines = [f"{path},x" for path in openclose_clips]
    table.write_text("\n".join(["path,label", *lines, "gone.mp4,x"]))
    file = tmp_path / "run.yaml"
    file.write_text("dataset: csv\ntokens: full\ndevices: cpu,cpu\n")
    words = "--frames 2 --tokens grid2 --workers 1"
    place = ("--root", table, "--store", tmp_path / "store")
    backbone = light_backbone(tmp_path)
    done = stepcli("extract", "--config", file, *words.split(), *place, "--backbone", backbone)
    assert done.returncode == 3, done.stderr
    store = open_store(tmp_path / "store")
    assert len(store) == 16
    assert [each.name for each in store.spec.segments] == ["grid2"]
    assert store.quarantined().keys() == {"gone.mp4"}
    assert len(store.clips()) == 17
    assert "(share 0 of 2)" in done.stderr
    assert "(share 1 of 2)" in done.stderr


def test_nothing_is_begun_where_a_device_is_missing(
    stepcli: Any, tmp_path: Path, openclose_clips: list[Path]
) -> None:
    """The other devices' shares would be a store of half the clips, and exit code 2."""
    (tmp_path / "clips.csv").write_text(f"path,label\n{openclose_clips[0]},x\n")
    place = ("--root", tmp_path / "clips.csv", "--store", tmp_path / "store")
    words = ("extract", "--dataset", "csv", "--devices", "cpu,cuda:99", "--frames", 2)
    done = stepcli(*words, *place, "--backbone", light_backbone(tmp_path))
    assert done.returncode == 2
    assert "--device cuda:99: this machine has cpu" in done.stderr
    assert not (tmp_path / "store").exists()


def test_a_process_reads_the_settings_that_the_command_had(tmp_path: Path) -> None:
    """Lists, paths and options of the data set go through the file that `run_on` writes."""
    changed = ExtractConfig(
        dataset="csv",
        root=tmp_path / "clips.csv",
        options={"wrist": "left"},
        layers="-2,-1",
        tokens="cls,grid2",
        views="center,flip",
        devices="cpu,cpu",
    )
    written = json.loads(json.dumps(options_of(changed)))
    fields = keys_of(ExtractConfig)
    assert validated(ExtractConfig, {fields[k]: v for k, v in written.items()}) == changed


def test_names_of_devices() -> None:
    assert device_names("0,1, cpu") == ["cuda:0", "cuda:1", "cpu"]
    with pytest.raises(UsageError, match="expected numbers"):
        device_names("0,")
