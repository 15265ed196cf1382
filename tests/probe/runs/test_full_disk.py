"""A disk that takes no more: said before the training, and what was trained by then is kept."""

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, RunConfig, TaskConfig
from stepcli.probe.data.features import Resident, task_layout
from stepcli.probe.runs.record import read_runs
from stepcli.probe.runs.write import TokenSource, write_all
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training.checkpoint import Checkpoint
from stepcli.probe.training.train import train
from stepcli.runtime.errors import StoreError
from stepcli.runtime.files import require_writable

CPU = torch.device("cpu")


@contextmanager
def no_room() -> Iterator[None]:
    """The system lets this process make files, and write nothing into them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def configs() -> list[RunConfig]:
    task = TaskConfig(name="arrow", clip_frames=4)
    return run_configs("linear", [{}], {}, task, DataConfig(epochs=3, batch_size=4), range(2))


def test_runs_need_a_folder_that_takes_bytes(
    configs: list[RunConfig], store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(store.path, tmp_path / "runs", "cpu")
    with no_room(), pytest.raises(StoreError, match=r"cannot write to .*runs: File too large"):
        session.run(configs)
    assert capsys.readouterr().out == ""  # no token was read yet
    with pytest.raises(StoreError, match=r"at least 1000000000.0 MB will be needed and its disk"):
        require_writable(tmp_path / "runs", 10**15)


def test_training_goes_on_where_its_state_cannot_be_written(
    configs: list[RunConfig], store: Store, tmp_path: Path
) -> None:
    task = Session(store.path, tmp_path, "cpu").task(configs[0].task)
    features = Resident(store, task.clips, CPU, CPU)
    said: list[str] = []
    checkpoint = Checkpoint(tmp_path, ["a"], 0.0, said.append)
    with no_room():
        trained = train(
            features, task_layout(store, task), task, configs, lambda _: None, checkpoint
        )
    assert len(trained) == 2
    assert [line.partition("resumed from ")[2] for line in said] == [
        *("epoch 1: fix the cause", "epoch 2: fix the cause")
    ]
    with no_room(), pytest.raises(StoreError, match="cannot write to"):
        checkpoint.save([], 1, now=True)


def test_runs_that_their_disk_does_not_take_go_to_another(
    configs: list[RunConfig], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(store.path, tmp_path, "cpu")
    task = session.task(configs[0].task)
    features = Resident(store, task.clips, CPU, CPU)
    trained = train(features, task_layout(store, task), task, configs, lambda _: None)
    source = TokenSource("store", "made-up", "0" * 64, store.spec)
    runs, other = tmp_path / "runs", tmp_path / "other"
    runs.write_text("a file, where a folder was")
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    records: list[object] = []
    with pytest.raises(StoreError, match="before that, move the 2 runs that were trained from"):
        write_all(runs, trained, session.name, lambda _: task, source, records.append)
    (folder,) = other.iterdir()
    assert len(read_runs(folder)) == 2
    weights = [load_file(path).values() for path in folder.glob("*/probe.safetensors")]
    (plan,) = session.plan(configs)
    assert plan.kept_bytes == sum(tensor.nbytes for each in weights for tensor in each)
    with no_room(), pytest.raises(StoreError, match=r"2 trained runs are lost .*File too large"):
        write_all(runs, trained, session.name, lambda _: task, source, records.append)
    assert not records
