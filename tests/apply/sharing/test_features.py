"""Exported features are the tokens of each step, once and in order, as others' loaders read."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from command_line import invoke
from recording_store import SPEC, step_tokens, window_store

from stepcli.cache.schema.clips import SegmentRow
from stepcli.cache.schema.spec import Segment
from stepcli.cache.store.store import Store

LENGTHS = {"day/a": 11, "b": 4, "c": 2}
WIDE = SPEC.model_copy(
    update={
        "segments": (
            Segment(name="cls", kind="prefix", count=1),
            Segment(name="grid2", kind="grid", count=4, grid=(2, 2)),
        )
    }
)


def tokens_of(spec: Any) -> dict[str, np.ndarray]:
    return {name: step_tokens(name, steps, spec) for name, steps in LENGTHS.items()}


@pytest.fixture
def narrow(tmp_path: Path) -> Store:
    return window_store(tmp_path / "store", tokens_of(SPEC))


def export(store: Store, *words: str) -> Any:
    return invoke("store", "export", "--store", str(store.path), *words)


@pytest.mark.parametrize("rule", ["4@2fps/1", "4@2fps/3", "4@2fps"])
def test_every_step_is_there_once_and_in_order(tmp_path: Path, rule: str) -> None:
    tokens = tokens_of(SPEC)
    store = window_store(tmp_path / "store", tokens, rule)
    assert export(store, "--npy", str(tmp_path / "out")).exit_code == 0
    for name, steps in tokens.items():
        found = np.load(tmp_path / "out" / f"{name}.npy")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, steps[:, 0])
        facts = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert facts["seconds"] == [n / 2 for n in range(len(steps))]
        assert facts["frames_per_second"] == 2
        assert facts["shape"] == [len(steps), SPEC.dim]
        assert facts["source"]["digest"] == f"sha256:{name}"
        assert facts["preprocessing"] == SPEC.preprocessing


def test_all_three_forms_hold_the_same(narrow: Store, tmp_path: Path) -> None:
    for form in ("npy", "h5", "pt"):
        assert export(narrow, f"--{form}", str(tmp_path / form)).exit_code == 0
    array = np.load(tmp_path / "npy" / "day" / "a.npy")
    with h5py.File(tmp_path / "h5" / "day" / "a.h5") as file:
        np.testing.assert_array_equal(file["features"][:], array)
        np.testing.assert_array_equal(file["seconds"][:], np.arange(11) / 2)
    tensor = torch.load(tmp_path / "pt" / "day" / "a.pt", weights_only=True)
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_tokens_are_kept_chosen_or_averaged(tmp_path: Path) -> None:
    tokens = tokens_of(WIDE)
    store = window_store(tmp_path / "store", tokens, spec=WIDE)
    assert export(store, "--npy", str(tmp_path / "all")).exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "all" / "b.npy"), tokens["b"])
    assert export(store, "--npy", str(tmp_path / "mean"), "--mean").exit_code == 0
    np.testing.assert_allclose(
        np.load(tmp_path / "mean" / "b.npy"), tokens["b"].mean(axis=1), atol=1e-6
    )
    assert export(store, "--npy", str(tmp_path / "cls"), "--tokens", "cls").exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "cls" / "b.npy"), tokens["b"][:, 0])
    half = export(store, "--npy", str(tmp_path / "half"), "--mean", "--dtype", "float16")
    assert half.exit_code == 0
    assert np.load(tmp_path / "half" / "b.npy").dtype == np.float16


def test_several_layers_stay_apart(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"layers": (-2, -1)})
    tokens = {"a": step_tokens("a", 9, spec)}
    store = window_store(tmp_path / "store", tokens, spec=spec)
    assert export(store, "--npy", str(tmp_path / "out")).exit_code == 0
    found = np.load(tmp_path / "out" / "a.npy")
    assert found.shape == (9, 2, SPEC.dim)
    np.testing.assert_array_equal(found, tokens["a"][:, :, 0])


def test_labels_and_segments_lie_beside(narrow: Store, tmp_path: Path) -> None:
    narrow.change_segments(lambda _: [SegmentRow("b", 0.5, 1.5, "open")])
    assert export(narrow, "--npy", str(tmp_path / "out")).exit_code == 0
    facts = json.loads((tmp_path / "out" / "b.json").read_text())
    assert facts["labels"] == ["background", "open", "open", "background"]
    assert facts["segments"] == [[0.5, 1.5, "open"]]
    assert "labels" not in json.loads((tmp_path / "out" / "c.json").read_text())


def test_ms_tcn_and_actionformer_read_it(narrow: Store, tmp_path: Path) -> None:
    """The lines of their loaders: features[:, ::rate] is [D, N]; [N, D] is transposed to [D, N]."""
    assert export(narrow, "--npy", str(tmp_path / "t"), "--transpose").exit_code == 0
    assert export(narrow, "--npy", str(tmp_path / "n")).exit_code == 0
    ms_tcn = np.load(tmp_path / "t" / "b.npy")[:, ::1]
    feats = np.load(tmp_path / "n" / "b.npy").astype(np.float32)
    actionformer = torch.from_numpy(np.ascontiguousarray(feats.transpose()))
    assert ms_tcn.shape == (SPEC.dim, 4)
    np.testing.assert_array_equal(ms_tcn, actionformer.numpy())


def test_the_guides_lines_write_what_ms_tcn_wants_beside_it(
    narrow: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of recordings in folders: it reads groundTruth/<name>.txt beside features/<name>.npy."""
    narrow.change_segments(
        lambda _: [SegmentRow(name, 0.5, 1.0, f"act {name}") for name in LENGTHS]
    )
    assert export(narrow, "--npy", str(tmp_path / "features")).exit_code == 0
    page = (Path(__file__).parents[3] / "docs" / "recordings.md").read_text()
    (lines,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        if "groundTruth" in block
    ]
    monkeypatch.chdir(tmp_path)
    exec(lines, {})
    for name, steps in LENGTHS.items():
        labels = (tmp_path / "groundTruth" / f"{name}.txt").read_text().splitlines()
        assert labels == ["background", f"act {name}"] + ["background"] * (steps - 2)
    assert (tmp_path / "mapping.txt").read_text().splitlines() == [
        *("0 act b", "1 act c", "2 act day/a", "3 background"),
    ]


def test_nothing_is_overwritten(narrow: Store, tmp_path: Path) -> None:
    assert export(narrow, "--npy", str(tmp_path / "out")).exit_code == 0
    again = export(narrow, "--npy", str(tmp_path / "out"))
    assert again.exit_code == 2
    assert "already there" in again.stderr


def test_a_recording_with_a_gap_is_left_out_and_named(tmp_path: Path) -> None:
    store = window_store(
        tmp_path / "store", tokens_of(SPEC), leave_out=frozenset({"day/a@w000002"})
    )
    found = export(store, "--npy", str(tmp_path / "out"))
    assert found.exit_code == 2
    assert "day/a" in found.stderr
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.npy")) == ["b.npy", "c.npy"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "give one of --npy"),
        (("--npy", "x", "--h5", "y"), "give one of --npy"),
        (("--npy", "x", "--tokens", "patches"), "patches"),
    ],
)
def test_what_does_not_fit_is_refused(narrow: Store, words: tuple[str, ...], named: str) -> None:
    found = export(narrow, *words)
    assert found.exit_code == 2
    assert named in found.stderr
