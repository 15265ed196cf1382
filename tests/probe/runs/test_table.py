"""Which runs are seeds of one row."""

from typing import Any

from stepcli.probe.runs.configurations import configuration
from stepcli.probe.runs.labels import labels
from stepcli.probe.runs.record import RunRecord


def run(seed: int, **task: Any) -> RunRecord:
    config = {"method": "step", "seed": seed, "task": {"shots": 4, **task}}
    return RunRecord.model_construct(
        method="step", task="classify", fingerprint="f" * 64, config=config
    )


def test_what_is_drawn_for_each_seed_makes_no_row_of_its_own() -> None:
    draws = [run(seed, draw_seed=seed, slice_seed=None) for seed in range(3)]
    assert len({configuration(each) for each in draws}) == 1
    assert labels(draws) == ["step"] * 3
    slices = [run(seed, draw_seed=seed, slice_seed=seed) for seed in range(3)]
    assert len({configuration(each) for each in slices}) == 1


def test_a_slice_is_another_row_than_the_test_split_and_so_is_another_k() -> None:
    on_test, on_slice = run(0, slice_seed=None), run(0, slice_seed=0)
    assert configuration(on_test) != configuration(on_slice)
    assert configuration(on_test) != configuration(run(0, shots=8, slice_seed=None))
    assert labels([on_test, run(0, shots=8, slice_seed=None)]) == ["step shots=4", "step shots=8"]
