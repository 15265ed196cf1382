"""Order tests: what sees order changes its answers, what does not cannot."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from typer.testing import CliRunner

from stepcli.cache.store.store import Store
from stepcli.cli import app
from stepcli.probe.analysis.order_runs import kept_order_tests
from stepcli.probe.analysis.order_tests import ORDERS, REORDERINGS
from stepcli.probe.runs.record import read_run
from stepcli.runtime.errors import UsageError

ARROW = ("--task", "arrow", "--clip-frames", "4", "--temporal-crop")


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]) -> Path:
    """Three methods that were trained on the arrow of time."""
    folder = tmp_path_factory.mktemp("order")
    store_of(folder / "store", clips_each=18)
    call(
        *("probe", "--method", "linear,first-frame,concat", "--epochs", 40, *ARROW),
        *("--store", folder / "store", "--runs", folder / "runs"),
    )
    return folder / "runs"


def orders(runs: Path, method: str) -> dict[str, dict[str, float]]:
    (found,) = json.loads(call("order", runs, "--method", method, "--json"))
    result: dict[str, dict[str, float]] = found["tests"]["orders"]
    return result


def test_order_blind_logits_do_not_move_under_any_reordering(tested: Path) -> None:
    found = orders(tested, "linear")
    assert list(found) == ["as it is", *ORDERS]
    for name in REORDERINGS:
        assert found[name]["moved"] < 1e-5
        assert found[name]["changed"] == found[name]["flips"] == 0
        assert found[name]["top1"] == 0.5
    assert found["middle frame only"]["moved"] > 1e-3


def test_a_clip_played_backward_flips_to_the_partner(tested: Path) -> None:
    found = orders(tested, "concat")
    assert found["as it is"] == {
        "top1": 1.0,
        "partner_top1": 0.0,
        "flips": 0.0,
        "changed": 0.0,
        "moved": 0.0,
    }
    assert found["reversed"]["flips"] == found["reversed"]["partner_top1"] == 1
    assert found["reversed"]["top1"] == 0


def test_the_first_frame_alone_is_the_first_frame(tested: Path) -> None:
    (found,) = json.loads(call("order", tested, "--method", "first-frame", "--json"))
    assert found["tests"]["orders"]["first half only"]["moved"] == 0
    seen = found["tests"]["early"]
    assert [share for share, _ in seen] == [0.25, 0.5, 0.75, 1.0]
    assert len({top1 for _, top1 in seen}) == 1


def test_more_observed_frames_end_at_the_whole_clips_accuracy(tested: Path) -> None:
    (found,) = json.loads(call("order", tested, "--method", "concat", "--json"))
    assert found["tests"]["early"][-1] == [1.0, found["tests"]["orders"]["as it is"]["top1"]]
    assert found["tests"]["early"][0][1] < 1


def test_results_are_kept_beside_the_runs(tested: Path) -> None:
    text = call("order", tested)
    assert max(map(len, text.splitlines())) <= 80
    files = sorted(tested.glob("*/order.json"))
    assert len(files) == 3
    before = [file.stat().st_mtime_ns for file in files]
    # Nothing is left to test, so a store that is not there any more is not asked for.
    store = tested.parent / "store"
    store.rename(tested.parent / "moved")
    try:
        assert call("order", tested) == text
    finally:
        (tested.parent / "moved").rename(store)
    assert [file.stat().st_mtime_ns for file in files] == before


def test_tokens_that_depend_on_other_frames_are_refused(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "store", scope="clip")
    call(
        *("probe", "--method", "linear", "--epochs", 1),
        *("--store", store.path, "--runs", tmp_path / "runs"),
    )
    done = CliRunner().invoke(app, ["order", str(tmp_path / "runs")])
    assert done.exit_code == 2
    assert "token_scope: clip" in done.stderr
    assert "extract with an image backbone" in done.stderr


def test_another_stores_tokens_are_refused(
    tested: Path, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    copy = tmp_path / "runs"
    (run,) = tested.glob("linear-*")
    (copy / run.name).mkdir(parents=True)
    for name in ("run.json", "probe.safetensors", "predictions.parquet"):
        (copy / run.name / name).write_bytes((run / name).read_bytes())
    other = store_of(tmp_path / "store", clips_each=3)
    done = CliRunner().invoke(app, ["order", str(copy), "--store", str(other.path)])
    assert done.exit_code == 2
    assert "holds other tokens" in done.stderr


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_every_order_shows_as_many_frames_as_there_are(frames: int) -> None:
    random = np.random.default_rng(0)
    for name, order in ORDERS.items():
        shown = order(frames, random)
        assert shown.shape == (frames,)
        assert shown.min() >= 0
        assert shown.max() < frames
        if name in REORDERINGS:
            assert sorted(shown) == list(range(frames))
    assert ORDERS["first half only"](8, random).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert ORDERS["second half only"](8, random).tolist() == [4, 4, 5, 5, 6, 6, 7, 7]
    assert ORDERS["time-warped"](8, random).tolist() == [0, 0, 1, 1, 2, 4, 5, 7]


def test_a_probe_of_another_layer_is_tested_on_that_layer(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    """The deepest layer is noise: shown to a probe of layer -2, it gives chance."""
    store = store_of(tmp_path / "store", layers=(-2, -1), noise=(-1,), clips_each=18)
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        "methods: {concat: {lr: [1e-2]}}\nseeds: 1\nvariants: [{layer: -2}, {layer: -1}]\n"
    )
    runs = tmp_path / "runs"
    call("sweep", sweep, "--epochs", 20, "--store", store.path, "--runs", runs)
    found = json.loads(call("order", runs, "--json"))
    told = {}
    for path in runs.glob("*/run.json"):
        record = json.loads(path.read_text())
        kept = json.loads((path.parent / "order.json").read_text())
        layer = record["config"]["task"]["layer"]
        told[layer] = kept["orders"]["as it is"]["top1"]
        assert told[layer] == record["top1"]
        assert kept["layer"] == layer
    assert told[-2] == 1
    assert told[-1] < 0.8
    assert len(found) == 2
    # What an earlier version kept of another layer than the deepest was made on the wrong tokens.
    for path in runs.glob("*/order.json"):
        kept = json.loads(path.read_text())
        del kept["layer"]
        path.write_text(json.dumps(kept | {"orders": {}}))
    call("order", runs)
    for path in runs.glob("*/order.json"):
        assert json.loads(path.read_text())["orders"]["as it is"]["top1"] in told.values()


def test_every_runs_tokens_are_checked(
    tested: Path, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    """Two runs that name one place, the second of other tokens: the store was extracted anew."""
    copy = tmp_path / "runs"
    for method in ("linear", "concat"):
        (run,) = tested.glob(f"{method}-*")
        (copy / run.name).mkdir(parents=True)
        for name in ("run.json", "probe.safetensors", "predictions.parquet"):
            (copy / run.name / name).write_bytes((run / name).read_bytes())
        if method == "linear":
            other = {"fingerprint": "f" * 64, "tested_tokens": "f" * 64}
            record = json.loads((run / "run.json").read_text()) | other
            (copy / run.name / "run.json").write_text(json.dumps(record))
    done = CliRunner().invoke(app, ["order", str(copy)])
    assert done.exit_code == 2
    assert "holds other tokens" in done.stderr
    assert "(ffffffff)" in done.stderr


def test_order_tests_that_cannot_be_are_named(tested: Path) -> None:
    call("order", tested)
    path = sorted(tested.glob("*/order.json"))[0]
    whole = path.read_text()
    found = json.loads(whole)["orders"]
    changed = found | {"reversed": found["reversed"] | {"top1": "0.5"}}
    without = {name: each for name, each in found.items() if name != "shuffled"}
    try:
        for wrong, named in (
            (changed, "orders.reversed.top1"),
            (without, "shuffled"),
            ([], "orders"),
        ):
            path.write_text(json.dumps({"orders": wrong}))
            with pytest.raises(UsageError, match=rf"not order tests \({named}\); delete it"):
                kept_order_tests(tested, read_run(path.parent / "run.json"))
    finally:
        path.write_text(whole)


def test_each_table_names_its_task(store_of: Callable[..., Store], tmp_path: Path) -> None:
    """Runs of one method on several tasks in one folder."""
    store, runs = store_of(tmp_path / "s"), tmp_path / "runs"
    words = ("probe", "--method", "linear", "--epochs", 1, "--store", store.path, "--runs", runs)
    for task in ("classify", "arrow"):
        call(*words, "--task", task)
    said = call("order", runs)
    assert "linear: classify, 1 seed" in said
    assert "linear: arrow, 1 seed" in said
    found = json.loads(call("order", runs, "--json"))
    assert {each["task"] for each in found} == {"classify", "arrow"}
    refused = call("calibrate", runs, code=2)
    assert "linear: arrow, seed 0: " in refused
