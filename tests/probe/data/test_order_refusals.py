"""Stores and options that the order suite refuses, or warns about."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_tokens import MAPS, random_store, task_of

from stepcli.cache.store.store import Store
from stepcli.probe.config import TaskConfig
from stepcli.probe.config.task import ORDER_SUITE
from stepcli.probe.data.features import task_layout
from stepcli.probe.data.order_maps import ORDER_MAPS
from stepcli.runtime.errors import UsageError


def test_a_store_without_pairs_is_asked_for_the_direction(tmp_path: Path) -> None:
    store = random_store(tmp_path / "s", 8, paired=False)
    for name in ORDER_SUITE:
        with pytest.raises(UsageError, match="or ask for the direction alone"):
            task_of(store, TaskConfig(name=name))
        task = task_of(store, TaskConfig(name=name, answer="direction"))
        assert (task.classes, task.pairs) == (("forward", "backward"), ((0, 1),))
        assert np.array_equal(task.test.label == 1, task.test.backward)
    assert TaskConfig(name="arrow").model_dump().keys() == TaskConfig().model_dump().keys()
    assert "answer" not in TaskConfig().model_dump()


@pytest.mark.parametrize("name", MAPS)
def test_wrong_use_is_refused(name: str, store_of: Callable[..., Store], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"the {name} task .* \(token_scope: clip\)"):
        task_of(store_of(tmp_path / "clip", scope="clip"), TaskConfig(name=name))
    least = ORDER_MAPS[name].least_stored
    few = random_store(tmp_path / "few", least - 1)
    with pytest.raises(UsageError, match=f"--task {name} needs at least {least} stored frames"):
        task_of(few, TaskConfig(name=name))
    store = random_store(tmp_path / "s", 8)
    with pytest.raises(UsageError, match=f"--clip-frames 1: --task {name} shows at least"):
        task_of(store, TaskConfig(name=name, clip_frames=1))
    with pytest.raises(UsageError, match=f"--temporal-crop: --task {name} arranges the frames"):
        TaskConfig(name=name, clip_frames=8, temporal_crop=True)
    with pytest.raises(UsageError, match=f"the {name} task pairs them"):
        task_of(store, TaskConfig(name=name, protocol="base-to-novel"))
    with pytest.raises(UsageError, match="--task classify does not"):
        task_of(store, TaskConfig(answer="direction"))


def test_the_cls_of_joined_tokens_is_refused_with_advice_that_helps(tmp_path: Path) -> None:
    store = random_store(tmp_path / "s", 8)
    layout = task_layout(store, task_of(store, TaskConfig(name="twins")))
    with pytest.raises(UsageError) as refused:
        layout.positions("cls")
    said = str(refused.value)
    assert said.startswith("tokens=cls is not available with --task twins")
    assert "leave tokens= out" in said
    assert "another store that holds nothing else: --tokens cls" in said
    assert layout.selected("all") == layout.selected("patches") == layout.tokens
    plain = task_layout(store, task_of(store, TaskConfig(name="sawtooth")))
    with pytest.raises(UsageError, match="extract with --tokens cls"):
        plain.positions("cls")


def test_few_clips_are_refused_or_reported(tmp_path: Path) -> None:
    config = TaskConfig(name="distractors")
    with pytest.raises(UsageError, match="split 'train' has 2 clips of paired classes; it needs 3"):
        task_of(random_store(tmp_path / "few", 8, clips=5), config)
    one_pair = random_store(tmp_path / "one", 8, labels=("close", "open"))
    warnings = task_of(one_pair, config).warnings
    assert "distractors of split 'train' are clips of the same pair: it has no other" in warnings
    padded = random_store(tmp_path / "padded", 8, padded=True)
    (warning,) = task_of(padded, TaskConfig(name="sawtooth")).warnings
    assert "with fewer than 3 real frames: sawtooth shows the same frames" in warning
