"""What commit d66560d wrote stays readable: stores, runs, exports (d66560d/make.py made them).

Only the command line and the public interface are used, so that no move of a module changes these
tests. A later version may say more about what an old file does not tell, never something else.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import call, invoke

from stepcli.cache import open_store

OLD = Path(__file__).parent / "d66560d"
EXPECTED: dict[str, Any] = json.loads((OLD / "expected.json").read_text())
PLAIN = ("hdf5", "int8", "merged", "zarr")
PACKED = ("gzip", "zstd")
SAME = 1e-5


@pytest.fixture(scope="module")
def old() -> Path:
    """The files as they lie in the repository; only for what writes nothing."""
    return OLD


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to write to, as the current folder."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tokens(store: str | Path) -> dict[str, dict[str, Any]]:
    """Shape and digest of each clip's tokens, as expected.json notes them."""
    opened = open_store(store)
    values = {clip: opened.read_floats([clip])[0] for clip in opened.ids}
    return {
        clip: {
            "shape": list(value.shape),
            "float32": hashlib.sha256(value.astype("<f4").tobytes()).hexdigest(),
        }
        for clip, value in values.items()
    }


@pytest.mark.parametrize("name", PLAIN)
def test_tokens_and_tables_are_those_of_then(name: str, old: Path) -> None:
    expected = EXPECTED["stores"][name]
    store = open_store(old / "stores" / name)

    assert store.format == expected["format"]
    assert tokens(old / "stores" / name) == expected["clips"]
    rows = [[row.id, row.label, row.split, row.group] for row in store.clips()]
    assert rows == expected["rows"]
    assert [[row.name, row.partner] for row in store.classes()] == expected["classes"]
    assert sorted(store.quarantined()) == expected["failed"]


@pytest.mark.parametrize("name", PLAIN)
def test_a_store_verifies_and_one_changed_byte_is_found(name: str, work: Path) -> None:
    store = work / "stores" / name
    call("store", "verify", "--store", store)

    clip = min(EXPECTED["stores"][name]["clips"])
    stored = np.ascontiguousarray(open_store(store).read([clip])).tobytes()
    changed = 0
    for path in (path for path in (store / "parts").rglob("*") if path.is_file()):
        content = path.read_bytes()
        if stored in content:
            path.write_bytes(content.replace(stored, stored[:-1] + bytes([stored[-1] ^ 1])))
            changed += 1
    assert changed
    done = invoke("store", "verify", "--store", store)
    assert done.exit_code == 4
    assert clip in done.output


EXTRACT = (
    *("extract", "--dataset", "csv", "--root", "clips.csv", "--backbone", "hf:backbone"),
    *("--frames", 4, "--tokens", "cls,grid2", "--device", "cpu", "--workers", 1),
)


@pytest.mark.parametrize(
    ("name", "more", "code"),
    [
        ("zarr", ("--text", "hf:backbone"), 3),
        ("hdf5", ("--dtype", "float32"), 3),
        ("int8", ("--dtype", "int8", "--limit", 8), 0),
    ],
)
def test_a_resume_stores_nothing_again_and_says_what_it_cannot_tell(
    name: str, more: tuple[object, ...], code: int, work: Path
) -> None:
    store = work / "stores" / name
    parts = sorted(path.name for path in (store / "parts").iterdir())
    done = invoke(*EXTRACT, *more, "--store", store)

    assert done.exit_code == code, done.output
    assert re.search(
        rf"{len(EXPECTED['stores'][name]['clips'])} clips .*earlier version", done.stderr
    )
    assert sorted(path.name for path in (store / "parts").iterdir()) == parts
    assert tokens(store) == EXPECTED["stores"][name]["clips"]
    assert sorted(open_store(store).quarantined()) == EXPECTED["stores"][name]["failed"]


def test_a_resume_makes_the_clip_that_a_repair_dropped(work: Path) -> None:
    expected = EXPECTED["stores"]["merged"]
    listed = {row[0] for row in expected["rows"]}
    (dropped,) = listed - expected["clips"].keys()
    assert list((OLD / "stores" / "merged" / "tombstones").iterdir())

    call(*EXTRACT, "--limit", 12, "--store", work / "stores" / "merged")

    found = tokens(work / "stores" / "merged")
    assert found.keys() == listed
    assert {clip: found[clip] for clip in expected["clips"]} == expected["clips"]
    # The damaged part held it: what it was then is known from the store of all clips.
    assert found[dropped] == EXPECTED["stores"]["zarr"]["clips"][dropped]


def same_figures(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert sorted(each["run"] for each in found) == sorted(each["run"] for each in expected)
    by_run = {each["run"]: each for each in found}
    for each in expected:
        assert {name: by_run[each["run"]][name] for name in each} == pytest.approx(each, abs=SAME)


def test_results_are_those_of_then(old: Path) -> None:
    found = json.loads(call("results", "--runs", old / "runs", "--format", "json"))
    same_figures(found, EXPECTED["results"])
    found = json.loads(call("results", "--runs", old / "sweep", "--format", "json", "--slices"))
    same_figures(found, EXPECTED["slices"])


def test_the_chosen_of_a_sweep_are_those_of_then(old: Path) -> None:
    found = cells(call("results", "--runs", old / "sweep", "--format", "markdown", "--chosen"))
    expected = cells(EXPECTED["chosen"])
    assert found.keys() == expected.keys() == {"linear", "step"}
    for method, then in expected.items():
        for column in ("top1", "params", "chosen"):
            assert found[method][column] == then[column]


def cells(table: str) -> dict[str, dict[str, str]]:
    """The cells of a Markdown table by its rows' first cell and the columns' names."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    names, _, *rows = lines
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def test_the_comparison_is_that_of_then(old: Path) -> None:
    pattern = r"step - linear: ([+-][\d.]+) points, 95 % interval \[([^,]+), ([^\]]+)\]"
    then = re.search(pattern, EXPECTED["compared"])
    now = re.search(pattern, call("results", "--runs", old / "runs", "--compare", "linear", "step"))
    assert then
    assert now
    assert now[1] == then[1]
    # Since then intervals are over seeds too: wider, never narrower.
    assert float(now[2]) < float(then[2])
    assert float(now[3]) > float(then[3])


def predictions(*runs: Path) -> list[dict[str, Any]]:
    """What runs answer on the videos of expected.json, named as there."""
    names = dict.fromkeys(each["video"] for each in EXPECTED["predicted"])
    asked = [word for name in names for word in ("--video", OLD / name)]
    words = ("--format", "json", "--device", "cpu", "--backbone", f"hf:{OLD / 'backbone'}")
    found: list[dict[str, Any]] = json.loads(call("predict", *runs, *asked, *words))
    return [{**each, "video": str(Path(each["video"]).relative_to(OLD))} for each in found]


def same_answers(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    by_place = {(each["video"], each["run"]): each for each in found}
    for then in expected:
        now = by_place[then["video"], then["run"]]
        assert [each["said"] for each in now["windows"]] == [
            each["said"] for each in then["windows"]
        ]
        for here, there in zip(now["windows"], then["windows"], strict=True):
            probabilities = {each["label"]: each["probability"] for each in there["top"]}
            assert {each["label"]: each["probability"] for each in here["top"]} == pytest.approx(
                probabilities, abs=SAME
            )


def test_runs_answer_as_then(old: Path) -> None:
    names = sorted({each["run"] for each in EXPECTED["predicted"]})
    runs = [old / "runs" / name for name in names]
    same_answers(predictions(*runs), EXPECTED["predicted"])


def test_what_was_given_away_answers_as_then(old: Path, tmp_path: Path) -> None:
    (exported,) = (old / "exported").iterdir()
    (pushed,) = (old / "pushed").iterdir()
    call("pull", pushed, "--out", tmp_path)
    for folder in (exported, tmp_path / pushed.name):
        expected = [each for each in EXPECTED["predicted"] if each["run"] == folder.name]
        same_answers(predictions(folder), expected)


def test_the_onnx_file_gives_the_logits_that_the_run_recorded(old: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    (exported,) = (old / "exported").iterdir()
    recorded = pq.read_table(old / "runs" / exported.name / "predictions.parquet").to_pydict()
    session = onnxruntime.InferenceSession(exported / "probe.onnx")
    store = open_store(old / "stores" / "hdf5")
    given = {session.get_inputs()[0].name: store.read_floats(recorded["clip"])}
    (logits,) = session.run(None, given)
    assert logits == pytest.approx(np.array(recorded["logits"]), abs=SAME)


def test_the_same_settings_find_their_runs_done(work: Path) -> None:
    """STEP's encoding started at 0.3 by default then, at 1.0 now: that is another run."""
    before = records(work / "runs")
    assert len(before) == 4
    command = (
        *("probe", "--method", "step,linear", "--lr", 0.01, "--seeds", 2, "--epochs", 8),
        *("--batch-size", 4, "--device", "cpu", "--store", work / "stores" / "hdf5"),
        *("--runs", work / "runs"),
    )
    call(*command, "--set", "pe_scale=0.3")
    assert records(work / "runs") == before
    call(*command)
    after = records(work / "runs")
    assert before.items() < after.items()
    added = [json.loads(run)["config"] for name, run in after.items() if name not in before]
    assert [(run["method"], run["options"]["pe_scale"]) for run in added] == [("step", 1.0)] * 2


def records(runs: Path) -> dict[str, bytes]:
    """run.json of every run, which says how long it took: one that is made anew differs."""
    return {path.parent.name: path.read_bytes() for path in runs.glob("*/run.json")}


def test_stored_text_embeddings_classify_as_then(work: Path, old: Path) -> None:
    """Zero-shot classification trains nothing: its logits are tokens, texts and their order."""
    now = work / "now"
    call(
        *("probe", "--method", "zero-shot", "--store", work / "stores" / "zarr"),
        *("--device", "cpu", "--runs", now),
    )
    (found,) = now.glob("*/predictions.parquet")
    (expected,) = (old / "texts").glob("*/predictions.parquet")
    here, there = pq.read_table(found).to_pydict(), pq.read_table(expected).to_pydict()
    assert here["clip"] == there["clip"]
    assert np.array(here["logits"]) == pytest.approx(np.array(there["logits"]), abs=SAME)


@pytest.mark.parametrize("name", PACKED)
def test_a_compressed_store_says_how_to_unpack_it_and_loses_nothing(name: str, work: Path) -> None:
    place, expected = work / "stores" / name, EXPECTED["stores"][name]["clips"]
    call("store", "verify", "--store", place)
    assert sorted(open_store(place).ids) == sorted(expected)
    with pytest.raises(Exception, match=r"compressed.*store compact.*store convert"):
        tokens(place)

    call("store", "convert", place, work / "unpacked")
    assert tokens(work / "unpacked") == expected
    call("store", "compact", "--store", place)
    assert tokens(place) == expected
    call("store", "verify", "--store", place)
