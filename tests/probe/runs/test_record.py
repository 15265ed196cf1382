"""The record of a run: what was written comes back; what cannot be is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from stepcli.probe.config import RunConfig
from stepcli.probe.runs.record import RunRecord, parse_run, read_run, read_runs
from stepcli.runtime.errors import UsageError

CONFIG = RunConfig(method="linear", options={})
EVERY_VERSION: dict[str, Any] = {
    "run": "linear-1",
    "method": "linear",
    "task": "classify",
    "config": CONFIG.model_dump(mode="json"),
    "seed": 0,
    "split": "test",
    "top1": 0.5,
    "top5": 1,
    "mean_class": 0.5,
    "forced_choice": None,
    "params": 10,
    "seconds": 1.5,
    "fingerprint": "f" * 64,
    "classes": ["close", "open"],
    "pairs": [["close", "open"]],
}
"""What runs of all versions say."""
LATER: dict[str, Any] = {
    "seconds_an_epoch": 0.1,
    "multiply_adds": 1 << 40,
    "bytes_a_clip": 5,
    "dataset": "door",
    "backbone": "b",
    "weights": ["hub/b@main"],
    "store": "/stores/s",
    "spec": {"frames": 4},
    "train_clips": 4,
    "test_samples": 2,
    "losses": [0.5, 0.25],
    "warnings": ["odd"],
    "leakage": {
        "test_clips": 2,
        "shared_groups": 0,
        "grouped_clips": 0,
        "copied_clips": 1,
        "without_copies": {"samples": 1, "top1": 0.0, "top5": 1.0, "mean_class": 0.0},
    },
    "code_schema": 2,
    "versions": {"torch": "2.0"},
    "hardware": {"machine": "x86_64", "system": "Linux", "cores": 2, "threads": 1, "gpu": None},
    "finished": "2026-11-22T00:00:00+00:00",
}


def written(runs: Path, content: Any) -> Path:
    path = runs / "linear-1" / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
    return path


@pytest.mark.parametrize("missing", [*LATER, None])
def test_records_of_all_versions_come_back_as_they_were(
    tmp_path: Path, missing: str | None
) -> None:
    content = EVERY_VERSION | {k: v for k, v in LATER.items() if k != missing}
    path = written(tmp_path, content)
    record = read_run(path)
    assert json.loads(record.encode()) == content
    assert record.settings == CONFIG
    assert record.copied_test_clips == (None if missing == "leakage" else 1)
    assert record.top1_without_copies == (None if missing == "leakage" else 0)
    written(tmp_path, json.loads(record.encode()))
    assert read_run(path) == record


def test_fields_of_a_later_version_are_kept(tmp_path: Path) -> None:
    content = EVERY_VERSION | LATER | {"carbon": {"grams": 1.5}}
    content["hardware"] = content["hardware"] | {"npu": "x"}
    record = read_run(written(tmp_path, content))
    assert json.loads(record.model_copy(update={"store": "s"}).encode()) == content | {"store": "s"}


def test_settings_of_another_version_are_shown_and_not_used(tmp_path: Path) -> None:
    config = EVERY_VERSION["config"]
    for changed in (config | {"later": 1}, config | {"task": {"slice_seed": 3, "later": True}}):
        record = read_run(written(tmp_path, EVERY_VERSION | {"config": changed}))
        assert json.loads(record.encode())["config"] == changed
        with pytest.raises(UsageError, match=r"does not know its setting .*later"):
            _ = record.settings
    assert record.on_slice
    with pytest.raises(UsageError, match="holds no finished run"):
        read_runs(tmp_path)
    assert read_runs(tmp_path, slices=True) == [record]
    with pytest.raises(UsageError, match="does not say where its store was; give --store"):
        _ = record.store_place


def test_a_path_that_is_no_utf8_comes_back(tmp_path: Path) -> None:
    record = read_run(written(tmp_path, EVERY_VERSION | {"store": "/stores/\udcff"}))
    assert record.store == "/stores/\udcff"
    assert json.loads(record.encode())["store"] == record.store


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("top1", value) for value in (float("nan"), -0.1, 1.1, True, "0.5", None)),
        *(("seconds", value) for value in (float("inf"), float("nan"), -1, None)),
        *(("seed", value) for value in (-1, 1 << 63, 0.0, True)),
        *(("params", value) for value in (1 << 80, 1.5)),
        *(("run", value) for value in (1, None)),
        *(("losses", value) for value in ([float("nan")], ["0.5"], 0.5)),
        *(("weights", value) for value in ("a", [1])),
        *(("versions", value) for value in ([], {"torch": 2})),
        *(("hardware", value) for value in (None, {"cores": "2"})),
        *(("leakage", value) for value in ([], {"test_clips": 1})),
        *(("spec", value) for value in ([], {"dim": float("nan")})),
        *(("config", value) for value in ([], {"lr": float("inf")}, {"x": nested(300)})),
        ("config", {"imported": {"sha256": ""}}),
        ("carbon", float("nan")),
    ],
)
def test_a_value_that_cannot_be_is_named(tmp_path: Path, field: str, value: Any) -> None:
    path = written(tmp_path, EVERY_VERSION | LATER | {field: value})
    with pytest.raises(UsageError, match=r"is not a run's JSON \(") as caught:
        read_run(path)
    message = str(caught.value)
    assert field in message or "recursion" in message
    assert "\n" not in message
    assert message.endswith("delete its folder")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"top1": 1e9999}', b"\xff", b"[" * 9999]
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of many reasons
        parse_run(data)


def test_a_record_is_checked_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="top1"):
        RunRecord.model_validate(EVERY_VERSION | {"top1": float("nan")})
