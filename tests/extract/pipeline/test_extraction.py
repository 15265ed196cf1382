"""Videos in, a store out: the whole of stage one with small models on real clips."""

import json
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from stepcli.cache import open_store
from stepcli.runtime.errors import SpecMismatch, UsageError

Extract = Callable[..., int]


@pytest.mark.parametrize("store_format", ["zarr", "hdf5"])
def test_a_store_holds_every_clip_with_labels_and_times(
    store_format: Any, extract: Extract, tmp_path: Path, openclose_clips: list[Path]
) -> None:
    assert extract(tokens="cls,grid2", format=store_format) == 0
    store = open_store(tmp_path / "store")
    assert store.format == store_format
    assert store.ids == [f"c{i}" for i in range(10)]
    assert store.spec.clip_shape == (4, 5, 32)
    assert store.spec.backbone == "hf:tiny-dinov2"
    assert [row.split for row in store.clips()] == ["train"] * 6 + ["test"] * 4
    assert [row.name for row in store.classes()] == sorted(
        {path.parent.name for path in openclose_clips[:10]}
    )
    record = store.record("c3")
    assert record.source == str(openclose_clips[3])
    assert (record.frame_height, record.frame_width, record.distinct_frames) == (224, 224, 4)
    assert list(record.pts_seconds) == sorted(record.pts_seconds)
    tokens = store.read(["c0", "c1"])
    assert tokens.std(axis=(0, 1, 2)).min() > 0


def test_a_video_backbone_stores_its_own_time_steps(extract: Extract, tmp_path: Path) -> None:
    assert extract("videomae", tokens="grid2", batch=8) == 0
    store = open_store(tmp_path / "store")
    assert store.spec.token_scope == "clip"
    assert (store.spec.frames, store.spec.frames_per_token) == (2, 2)
    assert store.spec.clip_shape == (2, 4, 32)
    record = store.record("c0")
    assert len(record.pts_seconds) == record.distinct_frames == 2
    assert extract("videomae", tokens="grid2", batch=1, store=tmp_path / "single") == 0
    single = open_store(tmp_path / "single")
    np.testing.assert_allclose(store.read(store.ids), single.read(store.ids), atol=1e-5)


def test_tokens_do_not_depend_on_batches_or_workers(extract: Extract, tmp_path: Path) -> None:
    assert extract(store=tmp_path / "a", batch=4, workers=1) == 0
    assert extract(store=tmp_path / "b", batch=37, workers=2) == 0
    a, b = open_store(tmp_path / "a"), open_store(tmp_path / "b")
    assert a.spec == b.spec
    np.testing.assert_allclose(a.read(a.ids), b.read(b.ids), atol=1e-5)


def test_a_finished_store_is_left_alone_and_another_spec_refused(
    extract: Extract, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract() == 0
    before = sorted(tmp_path.joinpath("store", "parts").iterdir())
    assert extract() == 0
    assert sorted(tmp_path.joinpath("store", "parts").iterdir()) == before
    assert "10 clips in all: 10 done, 0 quarantined, 0 left" in capsys.readouterr().err
    with pytest.raises(SpecMismatch, match="frames: store 4, asked 6"):
        extract(frames=6)
    with pytest.raises(SpecMismatch, match="weights_digest"):
        extract("dinov2-registers")


def test_broken_videos_are_quarantined_and_can_be_mended(
    extract: Extract, tmp_path: Path, clip_table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = clip_table.read_text().splitlines()
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all" * 50)
    clip_table.write_text(
        "\n".join([*rows, f"bad,{bad},drawer-open,train,b", "gone,gone.mp4,drawer-open,train,g"])
    )
    assert extract() == 3
    store = open_store(tmp_path / "store")
    assert len(store) == 10
    assert store.quarantined().keys() == {"bad", "gone"}
    err = capsys.readouterr().err
    assert "12 clips in all: 10 done, 2 quarantined, 0 left" in err
    assert "cannot be read (No such file or directory)" in err
    # Not tried again unless asked for; then with its attempts counted.
    assert extract() == 3
    assert {failure.attempt for failure in open_store(store.path).quarantined().values()} == {1}
    shutil.copy(rows[1].split(",")[1], bad)
    assert extract(retry_failed=True) == 3
    again = open_store(store.path)
    assert "bad" in again
    assert again.quarantined()["gone"].attempt == 2
    assert again.quarantined().keys() == {"gone"}


def test_tokens_too_large_for_float16_are_quarantined_with_that_reason(
    extract: Extract, tmp_path: Path, model_folder: Callable[[str], Path]
) -> None:
    from safetensors.torch import load_file, save_file

    loud = tmp_path / "loud"
    shutil.copytree(model_folder("dinov2"), loud)
    weights = load_file(loud / "model.safetensors")
    weights["layernorm.bias"] += 1e5
    save_file(weights, loud / "model.safetensors", metadata={"format": "pt"})
    assert extract(backbone=f"hf:{loud}", dtype="float16", limit=2) == 3
    failures = open_store(tmp_path / "store").quarantined()
    assert all("too large for float16" in failure.message for failure in failures.values())
    assert len(failures) == 2


def test_a_short_clip_stores_how_many_frames_are_distinct(
    extract: Extract, tmp_path: Path, clip_table: Path, write_numbered: Any
) -> None:
    path = write_numbered(tmp_path / "three.mp4", 3, first=3)
    clip_table.write_text(f"path,label\n{path},x\n")
    assert extract(frames=8) == 0
    store = open_store(tmp_path / "store")
    assert store.record(str(path)).distinct_frames == 3
    tokens = store.read([str(path)])[0]
    assert np.array_equal(tokens[0], tokens[2])
    assert not np.array_equal(tokens[2], tokens[3])


def test_many_single_frames_do_not_starve_a_large_batch(
    extract: Extract, tmp_path: Path, clip_table: Path, write_numbered: Any
) -> None:
    """Each fills a slot of shared memory but only one frame of the batch."""
    path = write_numbered(tmp_path / "one.mp4", 1)
    lines = ["id,path,label", *(f"{i},{path},x" for i in range(120))]
    clip_table.write_text("\n".join(lines))
    assert extract(frames=8, batch=64) == 0
    assert len(open_store(tmp_path / "store")) == 120


def test_segments_of_one_video_are_clips_of_their_own(
    extract: Extract, tmp_path: Path, clip_table: Path, write_numbered: Any
) -> None:
    path = write_numbered(tmp_path / "long.mp4", 100)
    clip_table.write_text(
        f"id,path,label,start_frame,end_frame\na,{path},x,,\nb,{path},x,20,24\nc,{path},x,99,200\n"
    )
    assert extract() == 0
    store = open_store(tmp_path / "store")
    times = {name: store.record(name).pts_seconds for name in store.ids}
    np.testing.assert_allclose(times["b"], np.arange(20, 24) / 25, atol=1e-3)
    assert store.record("c").distinct_frames == 1


def backward(source: Path, target: Path, quality: str) -> Path:
    """The same frames in the other order, encoded anew; quality 0 loses nothing."""
    with av.open(str(source)) as container:
        frames = list(container.decode(video=0))
    with av.open(str(target), "w") as container:
        stream: Any = container.add_stream("libx264", rate=40, options={"qp": quality})
        stream.height, stream.width = frames[0].height, frames[0].width
        stream.pix_fmt = frames[0].format.name
        for number, frame in enumerate(reversed(frames)):
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 40), 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target


@pytest.mark.parametrize(("quality", "tolerance"), [("0", 1e-4), ("10", 0.1)])
def test_the_arrow_of_time_from_the_cache_is_that_of_backward_videos(
    quality: str,
    tolerance: float,
    extract: Extract,
    tmp_path: Path,
    openclose_clips: list[Path],
    clip_table: Path,
) -> None:
    """Flipping the stored frames of a clip gives the tokens of its backward video.

    Root mean square difference over the tokens' own: 1e-4 where the backward video was encoded
    without loss; 0.1 where it was encoded with a little, which is what the codec costs in either
    direction. One frame off would cost more than 0.2.
    """
    lines = ["id,path,label"]
    for i, source in enumerate(openclose_clips[:4]):
        lines.append(f"forward{i},{source},x")
        lines.append(f"backward{i},{backward(source, tmp_path / f'{i}.mp4', quality)},x")
    clip_table.write_text("\n".join(lines))
    assert extract(backbone="mobilenet_v2-bundled", frames=8) == 0
    store = open_store(tmp_path / "store")
    for i in range(4):
        forward, reverse = store.read([f"forward{i}", f"backward{i}"])
        flipped, scale = forward[::-1], np.sqrt(np.square(forward).mean())
        assert np.sqrt(np.square(flipped - reverse).mean()) / scale < tolerance
        assert np.sqrt(np.square(flipped[1:] - reverse[:-1]).mean()) / scale > 0.2
        times = store.record(f"backward{i}").pts_seconds
        length = store.record(f"forward{i}").pts_seconds
        np.testing.assert_allclose(np.diff(times), np.diff(length)[::-1], atol=1e-3)


def test_fast_preprocessing_is_nearly_the_same_and_another_spec(
    extract: Extract, tmp_path: Path, clip_table: Path, write_video: Any
) -> None:
    """Cosine of the tokens at least 0.999 on real frames enlarged to 480 x 640."""
    lines = ["path,label"]
    for i, row in enumerate(clip_table.read_text().splitlines()[1:3]):
        with av.open(row.split(",")[1]) as container:
            images = [
                frame.reformat(width=640, height=480).to_ndarray(format="rgb24")
                for frame in container.decode(video=0)
            ]
        lines.append(f"{write_video(tmp_path / f'{i}.mp4', images[:6])},x")
    clip_table.write_text("\n".join(lines))
    assert extract(store=tmp_path / "exact") == 0
    assert extract(store=tmp_path / "fast", preprocess="fast") == 0
    exact, fast = (open_store(tmp_path / name) for name in ("exact", "fast"))
    a, b = exact.read(exact.ids), fast.read(fast.ids)
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    assert cosine.min() >= 0.999
    assert not np.array_equal(a, b)
    with pytest.raises(SpecMismatch, match=r"preprocessing\.path: store 'exact', asked 'fast'"):
        extract(store=tmp_path / "exact", preprocess="fast")


def test_a_gpu_that_is_not_there_is_not_replaced(extract: Extract) -> None:
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(UsageError, match=missing):
        extract(device=missing)


def test_interrupted_runs_keep_what_was_added(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle: whatever was computed is committed, and the next run resumes."""
    from stepcli.extract.pipeline.backbone_runner import BackboneRunner

    calls = []
    plain = BackboneRunner.__call__

    def interrupted(self: BackboneRunner, clips: Any) -> Any:
        calls.append(clips)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(self, clips)

    monkeypatch.setattr(BackboneRunner, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract(batch=4)
    done = len(open_store(tmp_path / "store"))
    assert 0 < done < 10
    monkeypatch.undo()
    assert extract() == 0
    assert len(open_store(tmp_path / "store")) == 10


def test_the_summary_for_scripts_counts_everything(
    clip_table: Path, extract: Extract, summaries: list[dict[str, Any]]
) -> None:
    rows = clip_table.read_text().splitlines()[:4]
    clip_table.write_text("\n".join([*rows, "gone,gone.mp4,drawer-open,train,g"]))
    assert extract() == 3
    (summary,) = summaries
    assert json.loads(json.dumps(summary)) == summary
    counts = [summary[name] for name in ("clips", "stored_ids", "done", "quarantined", "left")]
    assert counts == [4, 4, 3, 1, 0]
    (reason,) = summary["reasons"]
    assert (reason["error"], reason["count"]) == ("VideoError", 1)
    assert reason["example"].endswith("gone.mp4")
    assert summary["seconds"]["limit"] in ("decoding", "the backbone", "writing")
    assert summary["seconds"]["forward"] > 0


def test_a_decoder_that_is_not_installed_is_not_replaced(
    extract: Extract, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)  # as where it is not installed
    with pytest.raises(UsageError, match="--decoder torchcodec: it cannot be loaded here"):
        extract(decoder="torchcodec")
    assert not (tmp_path / "store").exists()
