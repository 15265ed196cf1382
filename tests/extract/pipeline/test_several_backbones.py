"""Several backbones from one decoding pass: the tokens of single runs, every clip decoded once."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepcli.cache import open_store
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.process import DecoderProcess, DecodeTask
from stepcli.extract.engines.several_backbones import extract_all, union
from stepcli.extract.pipeline.clip_list import load_list
from stepcli.runtime.errors import StepcliError, UsageError

FAMILIES = ("dinov2", "clip", "resnet")
"""Of different input sizes, resizing, normalisation and widths."""
Run = Callable[..., tuple[int, list[Any]]]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the clips that decoders were given, in order."""
    ids: list[str] = []
    give = DecoderProcess.give

    def counted(self: DecoderProcess, task: DecodeTask, clip_seconds: float) -> None:
        ids.append(task.clip.id)
        give(self, task, clip_seconds)

    monkeypatch.setattr(DecoderProcess, "give", counted)
    return ids


@pytest.fixture
def run(clip_table: Path, tmp_path: Path, model_folder: Callable[[str], Path]) -> Run:
    def start(*families: str, **changes: Any) -> tuple[int, list[Any]]:
        settings: dict[str, Any] = {
            "dataset": "csv",
            "root": clip_table,
            "store": str(tmp_path / "{backbone}"),
            "backbone": ",".join(str(model_folder(family)) for family in families),
            "frames": 4,
            "tokens": "grid2",
            "dtype": "float32",
            "device": "cpu",
            "precision": "float32",
            "workers": 1,
        }
        config = ExtractConfig(**{**settings, **changes})
        return extract_all(config, load_list(config))

    return start


def assert_same(one: Path, other: Path) -> None:
    a, b = open_store(one), open_store(other)
    assert a.ids == b.ids
    assert a.spec == b.spec
    np.testing.assert_array_equal(a.read_floats(a.ids), b.read_floats(a.ids))
    for left, right in zip(a.records(a.ids), b.records(b.ids), strict=True):
        assert left == right


@pytest.mark.parametrize("views", [{}, {"views": "flip,center", "mirrors": Path("none")}])
def test_each_store_is_that_of_a_run_of_its_own(
    run: Run, tmp_path: Path, decoded: list[str], views: dict[str, Any]
) -> None:
    code, summaries = run(*FAMILIES, **views)
    assert code == 0
    assert sorted(decoded) == sorted(f"c{i}" for i in range(10)), "each once for all backbones"
    assert [Path(each["store"]).name for each in summaries] == [f"tiny-{f}" for f in FAMILIES]
    for family in FAMILIES:
        alone = tmp_path / f"alone-{family}"
        assert run(family, store=str(alone), **views)[0] == 0
        assert_same(tmp_path / f"tiny-{family}", alone)


def test_each_store_gets_the_clips_that_it_lacks(
    run: Run, tmp_path: Path, decoded: list[str]
) -> None:
    assert run("dinov2", store=str(tmp_path / "tiny-dinov2"), limit=5)[0] == 0
    before = open_store(tmp_path / "tiny-dinov2").parts
    decoded.clear()
    assert run("dinov2", "clip")[0] == 0
    assert len(decoded) == 10
    store = open_store(tmp_path / "tiny-dinov2")
    assert len(store) == len(open_store(tmp_path / "tiny-clip")) == 10
    new = [part for part in store.parts if part not in before]
    added = [clip for clip in store.ids if store.locate(clip)[0] in new]
    assert len(added) == 5, "what was stored stays where it is"
    alone = tmp_path / "alone"
    assert run("dinov2", store=str(alone))[0] == 0
    np.testing.assert_array_equal(store.read(store.ids), open_store(alone).read(store.ids))
    decoded.clear()
    assert run("dinov2", "clip")[0] == 0
    assert decoded == []


def test_a_broken_clip_is_quarantined_in_every_store_that_lacks_it(
    run: Run, tmp_path: Path, clip_table: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with clip_table.open("a", newline="") as lines:
        csv.writer(lines).writerow(["broken", tmp_path / "broken.mp4", "x", "train", 99])
    code, summaries = run("dinov2", "clip")
    assert code == 3
    assert [each["quarantined"] for each in summaries] == [1, 1]
    for family in ("dinov2", "clip"):
        store = open_store(tmp_path / f"tiny-{family}")
        assert len(store) == 10
        assert set(store.quarantined()) == {"broken"}


def test_what_cannot_be_shared_is_refused(run: Run, tmp_path: Path) -> None:
    refused = {
        "need a store each": {"store": str(tmp_path / "one")},
        "--engine ray takes one backbone": {"engine": "ray"},
        "--preprocess fast takes one backbone": {"preprocess": "fast"},
    }
    for said, settings in refused.items():
        with pytest.raises(UsageError, match=said):
            run("dinov2", "clip", **settings)
    assert not list(tmp_path.glob("tiny-*"))


def test_no_store_is_made_where_one_of_them_cannot_be(
    run: Run, tmp_path: Path, model_folder: Callable[[str], Path]
) -> None:
    """An empty store would hold the settings that the command had before it was put right."""
    with pytest.raises(StepcliError, match="--layers"):
        run("dinov2", "resnet", layers=(-2, -1))
    assert not list(tmp_path.glob("tiny-*"))
    assert run("clip", limit=1)[0] == 0
    with pytest.raises(StepcliError, match="tiny-clip was written with other settings"):
        run("dinov2", "clip", frames=5)
    assert not (tmp_path / "tiny-dinov2").exists()
    namesake = tmp_path / "other" / "tiny-resnet"
    shutil.copytree(model_folder("resnet"), namesake)
    with pytest.raises(UsageError, match="two of the backbones would share it"):
        run(backbone=f"{model_folder('resnet')},{namesake}")
    assert not (tmp_path / "tiny-resnet").exists()


def test_names_are_told_from_folders(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    assert ExtractConfig(dataset="csv", backbone="a, b,a").backbones == ("a", "b")
    assert ExtractConfig(dataset="csv", backbone=str(folder)).backbones != (str(folder),)
    folder.mkdir()
    assert ExtractConfig(dataset="csv", backbone=str(folder)).backbones == (str(folder),)


def test_a_clip_that_several_stores_lack_has_all_their_views(openclose_clips: list[Path]) -> None:
    path = openclose_clips[0]
    a = Clip("a", path, "x", views=("center",))
    both = union(
        [[a, Clip("b", path, "x")], [Clip("a", path, "x", views=("flip-center", "center"))]]
    )
    assert [(clip.id, clip.views) for clip in both] == [
        ("a", ("center", "flip-center")),
        ("b", ()),
    ]


def test_a_backbone_that_is_given_twice_is_one(run: Run, tmp_path: Path) -> None:
    code, summaries = run("resnet", "resnet", store=str(tmp_path / "one"))
    assert (code, len(summaries)) == (0, 1)
    assert len(open_store(tmp_path / "one")) == 10


def test_the_store_of_one_backbone_may_be_named_by_it(run: Run, tmp_path: Path) -> None:
    run("resnet")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tiny")] == [
        "tiny-resnet"
    ]
