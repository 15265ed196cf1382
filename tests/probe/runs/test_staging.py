"""What killed writers leave beside runs is removed; what the living write is not."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import call, invoke

from stepcli.cache.storage.writer_identity import LEASE_HOURS, Owner, new_owner
from stepcli.cache.store.store import Store
from stepcli.probe.runs.staging import PREFIX, staging_folder, sweep_staging

HEX = 32 * "a"


def leave(parent: Path, name: str, *, hours: float = 0.0, folder: bool = True) -> Path:
    """What a writer left behind, that many hours ago."""
    place = parent / name
    if folder:
        place.mkdir(parents=True)
        (place / "probe.safetensors").write_bytes(b"half")
    else:
        place.write_bytes(b"half")
    then = time.time() - 3600 * hours
    os.utime(place, (then, then))
    return place


def test_only_what_the_dead_have_left_goes(tmp_path: Path) -> None:
    me = new_owner()
    killed = Owner(me.host, me.boot, me.pid, me.start + 1, HEX)
    elsewhere = Owner("other", "boot", 1, 1, HEX)
    dead = [
        leave(tmp_path, f"{PREFIX}{killed.name}"),
        leave(tmp_path, f".step-0123-{HEX}", hours=LEASE_HOURS + 1),
        leave(tmp_path, f".run.json.{HEX}", hours=LEASE_HOURS + 1, folder=False),
    ]
    alive = [
        leave(tmp_path, f"{PREFIX}{me.name}"),
        leave(tmp_path, f"{PREFIX}{elsewhere.name}"),
        leave(tmp_path, f".step-0123-{HEX[1:]}b"),
        leave(tmp_path, "step-0123", hours=99),
        leave(tmp_path, ".mine", hours=99),
        leave(tmp_path, ".state-0123", hours=99),
    ]
    outside = leave(tmp_path / "outside", "folder")
    (tmp_path / f".link-{HEX}").symlink_to(outside)
    os.utime(tmp_path / f".link-{HEX}", (0, 0), follow_symlinks=False)
    swept = sweep_staging(tmp_path)
    assert sorted(swept) == sorted([path.name for path in dead] + [f".link-{HEX}"])
    assert not [path for path in dead if path.exists()]
    assert all(path.exists() for path in alive)
    assert list(outside.iterdir())
    assert sweep_staging(tmp_path / "nowhere") == []


def test_a_folder_that_was_not_finished_is_removed(tmp_path: Path) -> None:
    def interrupted() -> None:
        with staging_folder(tmp_path) as folder:
            (folder / "x").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_training_and_export_sweep(store: Store, tmp_path: Path) -> None:
    me = new_owner()
    for name in ("runs", "out"):
        killed = Owner(me.host, me.boot, me.pid, me.start + 1, HEX)
        leave(tmp_path / name, f"{PREFIX}{killed.name}")
    words = ("--store", store.path, "--runs", tmp_path / "runs", "--epochs", 1)
    call("probe", "--method", "linear", *words)
    (run,) = (tmp_path / "runs").iterdir()
    call("export", run, "--out", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [run.name]


def test_an_export_that_breaks_off_leaves_the_earlier_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(
        *("probe", "--method", "linear", "--epochs", 1),
        *("--store", store.path, "--runs", tmp_path / "runs"),
    )
    (run,) = (tmp_path / "runs").iterdir()
    (run / "calibration.json").write_text(
        '{"temperature": 2.0, "samples": 9, "thresholds": {"0.05": null}}'
    )
    call("export", run, "--out", tmp_path / "out")
    target = tmp_path / "out" / run.name
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    assert "calibration.json" in before
    (target / "notes.txt").write_text("mine")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("stepcli.probe.analysis.export.copy_beneath", full)
        assert "No space left on device" in call("export", run, "--out", tmp_path / "out", code=1)
    assert {name: (target / name).read_bytes() for name in before} == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == [run.name]
    (run / "calibration.json").unlink()  # an old temperature would be another's
    call("export", run, "--out", tmp_path / "out")
    assert not (target / "calibration.json").exists()
    assert (target / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("left", ["probe.safetensors", "", "a file", "a broken link"])
def test_half_a_run_is_told_before_training(
    store_of: Callable[..., Store], tmp_path: Path, left: str
) -> None:
    """A folder whose run.json was deleted: the runs that were trained could not be put in place."""
    store, runs = store_of(tmp_path / "s"), tmp_path / "runs"
    words = ("probe", "--method", "linear", "--epochs", 1, "--store", store.path, "--runs", runs)
    call(*words)
    (run,) = runs.glob("linear-*")
    shutil.rmtree(run)
    if left == "a file":
        run.write_text("mine")
    elif left == "a broken link":
        run.symlink_to(tmp_path / "nowhere")
    else:
        run.mkdir()
        if left:
            (run / left).write_bytes(b"half")
    done = invoke(*words)
    assert done.exit_code == 2
    assert f"{run} is in the way" in done.stderr
    assert "tokens" not in done.stdout
    shutil.rmtree(run) if run.is_dir() else run.unlink()
    call(*words)
    assert (run / "run.json").is_file()


def test_predictions_that_are_gone_are_named(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store, runs = store_of(tmp_path / "s"), tmp_path / "runs"
    call("probe", "--method", "linear", "--epochs", 1, "--store", store.path, "--runs", runs)
    (run,) = runs.glob("linear-*")
    (run / "predictions.parquet").unlink()
    said = call("analyse", runs, code=2)
    assert f"{run / 'predictions.parquet'} is missing (an exported probe has none" in said
