"""Options over a file whose variants set the same fields."""

from typing import Any

import pytest

from stepcli.probe.sweeps.expand import shipped_recipes
from stepcli.probe.sweeps.options import options_over
from stepcli.runtime.errors import UsageError


def _variants(recipe: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    none: dict[str, Any] = {}
    sweep = options_over(
        shipped_recipes()[recipe],
        methods=None,
        settings=[],
        optim={},
        task=task,
        data=none,
        search=none,
    )
    return [dict(each) for each in sweep.variants]


def test_an_option_selects_the_variants_that_agree_with_it() -> None:
    """It was ignored: a variant's own value came last."""
    assert _variants("order-suite.yaml", {"name": "twins"}) == [{"name": "twins", "clip_frames": 8}]
    assert _variants("few-shot.yaml", {"shots": 4}) == [{"shots": 4}]
    both = _variants("multi-task.yaml", {"observed": 0.25, "name": "classify"})
    assert both == [{"name": "classify"}]
    assert len(_variants("order-suite.yaml", {"answer": "direction"})) == 6


def test_an_option_that_no_variant_agrees_with_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--clip-frames 6: the variants .* 8, 9, 16, 13; give"):
        _variants("order-suite.yaml", {"clip_frames": 6})
    with pytest.raises(UsageError, match=r"--task classify: .* arrow, there-and-back"):
        _variants("order-suite.yaml", {"name": "classify"})
