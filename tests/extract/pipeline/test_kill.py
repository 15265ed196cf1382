"""SIGKILL at any moment loses at most the part being written; the same command then resumes.

STEPCLI_KILLS sets the number of moments (default 1 a format).
"""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from light_backbone import light_backbone

from stepcli.cache import open_store
from stepcli.extract.config import ExtractConfig
from stepcli.extract.engines.run import run_extract
from stepcli.runtime.errors import StoreNotFound
from stepcli.runtime.preemption import PREEMPTED

KILLS = int(os.environ.get("STEPCLI_KILLS", "1"))
CLIPS = 64
PART_CLIPS = 5


def start(store: Path, backbone: str, store_format: str) -> "subprocess.Popen[bytes]":
    words = f"--dataset openclose --limit {CLIPS} --frames 8 --tokens grid2 --dtype float32"
    parts = f"--part-clips {PART_CLIPS} --workers 1 --device cpu --format {store_format}"
    command = [sys.executable, "-m", "stepcli.cli", "extract", *words.split(), *parts.split()]
    return subprocess.Popen(
        [*command, "--store", str(store), "--backbone", backbone], stderr=subprocess.PIPE
    )


def finish(store: Path, backbone: str, store_format: Any) -> None:
    """The same command to its end, in this process: starting another takes longer than the run."""
    request = ExtractConfig(
        dataset="openclose",
        store=store,
        backbone=backbone,
        frames=8,
        tokens="grid2",
        dtype="float32",
        format=store_format,
        device="cpu",
        workers=1,
        clip_timeout=60.0,
        limit=CLIPS,
    )
    assert run_extract(request)[0] == 0


def staged(store: Path) -> set[str]:
    """What writers have begun; also what dead ones have left."""
    return {path.name for path in store.glob(".staging/*")}


@pytest.fixture
def backbone(tmp_path: Path) -> str:
    return light_backbone(tmp_path)


@pytest.mark.parametrize("store_format", ["zarr", "hdf5"])
def test_a_killed_run_resumes_to_the_same_store(
    store_format: Any, backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(tmp_path / "whole", backbone, store_format)
    whole = open_store(tmp_path / "whole")
    moments = random.Random(0)
    path = tmp_path / "killed"
    for kill in range(KILLS):
        before = staged(path)
        process = start(path, backbone, store_format)
        while staged(path) <= before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.6))
        process.kill()
        process.communicate()
        try:
            survivor = open_store(path)
        except StoreNotFound:
            continue  # killed before the store's manifest was there
        if survivor.ids:
            tokens = survivor.read(survivor.ids)
            np.testing.assert_allclose(tokens, whole.read(survivor.ids), atol=1e-5)
            assert len(survivor) % PART_CLIPS == 0 or len(survivor) == CLIPS
        if len(survivor) == CLIPS:  # every kill must have something to interrupt
            path = tmp_path / f"killed{kill}"
    finish(path, backbone, store_format)
    summary = f"{CLIPS} clips in all: {CLIPS} done, 0 quarantined, 0 left"
    assert summary in capsys.readouterr().err
    resumed = open_store(path)
    assert resumed.ids == whole.ids
    np.testing.assert_allclose(resumed.read(resumed.ids), whole.read(whole.ids), atol=1e-5)
    assert [resumed.record(i) for i in resumed.ids] == [whole.record(i) for i in whole.ids]
    assert [row.label for row in resumed.clips()] == [row.label for row in whole.clips()]


def test_a_notice_to_end_commits_and_says_how_to_go_on(backbone: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    process = start(path, backbone, "zarr")
    parts = path / "parts"
    while not (parts.exists() and any(parts.iterdir())):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)  # batch systems send it more than once
    _, err = process.communicate(timeout=60)
    assert process.returncode == PREEMPTED, err.decode()
    assert "interrupted" in err.decode()
    assert "Traceback" not in err.decode()
    assert not staged(path)
    assert 0 < len(open_store(path)) <= CLIPS  # the notice may come when all is done but the end
    finish(path, backbone, "zarr")
    assert len(open_store(path)) == CLIPS
