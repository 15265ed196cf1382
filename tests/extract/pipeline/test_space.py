"""What does not fit on the disk is refused before a store is made: it would fix the settings."""

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from light_backbone import light_backbone

from stepcli.cache import open_store
from stepcli.extract.config import ExtractConfig
from stepcli.extract.engines.ready import make_ready, needs_of_new
from stepcli.extract.engines.several_backbones import configs_of, extract_all
from stepcli.extract.pipeline.clip_list import load_list
from stepcli.extract.pipeline.space import require_space
from stepcli.runtime.errors import UsageError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes every disk has left."""

    def set_free(count: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(1 << 40, 0, count))

    return set_free


def run(config: ExtractConfig) -> int:
    code, _ = extract_all(config, load_list(config))
    return code


def test_the_advice_to_ask_for_fewer_tokens_can_be_followed(
    clip_table: Path, tmp_path: Path, free: Callable[[int], None]
) -> None:
    settings = {"dataset": "csv", "root": clip_table, "frames": 2, "device": "cpu", "workers": 1}
    settings |= {"backbone": str(light_backbone(tmp_path)), "store": str(tmp_path / "store")}
    large, small = (ExtractConfig(tokens=tokens, **settings) for tokens in ("full", "grid1"))
    free(1000)
    with pytest.raises(UsageError, match=r"clips need .* in .*store, where 1.0 kB are free"):
        run(large)
    assert not (tmp_path / "store").exists()
    free(1 << 30)
    assert run(small) == 0
    stored = len(open_store(tmp_path / "store"))
    assert stored == len(load_list(small).clips)


def test_stores_on_one_disk_share_its_space(
    clip_table: Path, tmp_path: Path, free: Callable[[int], None], model_folder: Callable[..., Path]
) -> None:
    """Each alone would fit."""
    models = ",".join(f"hf:{model_folder(family)}" for family in ("vit", "dinov2"))
    settings = {"dataset": "csv", "root": clip_table, "frames": 2, "device": "cpu", "workers": 1}
    config = ExtractConfig(backbone=models, store=str(tmp_path / "{backbone}"), **settings)
    ready = [make_ready(each, load_list(config)) for each in configs_of(config)]
    needs = needs_of_new(ready, load_list(config))
    assert len({need.place for need in needs}) == 2
    free(sum(need.size for need in needs) - 1)
    for need in needs:
        require_space([need])
    with pytest.raises(UsageError, match=r"tiny-vit and .*tiny-dinov2, where"):
        run(config)
    assert not list(tmp_path.glob("tiny-*"))
    free(sum(need.size for need in needs))
    assert run(config) == 0
