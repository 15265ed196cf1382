"""`extract --views reversed`: the frames backward, encoded in that order."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import invoke

from stepcli.apply.pictures.stored_frames import stored_frames
from stepcli.cache import open_store
from stepcli.cache.schema.clips import ClassRow

Extract = Callable[..., int]


def test_tokens_of_frames_are_those_of_the_centre_in_reverse(
    extract: Extract, tmp_path: Path
) -> None:
    assert extract(limit=4, views="reversed") == 0
    store = open_store(tmp_path / "store")
    assert len(store.ids) == 8
    rows = {row.id: row for row in store.clips()}
    for clip in {name.partition("@")[0] for name in store.ids}:
        forward, backward = f"{clip}@center", f"{clip}@reversed-center"
        assert np.array_equal(store.read([forward])[0][::-1], store.read([backward])[0])
        times = [store.record(one).pts_seconds for one in (forward, backward)]
        assert times[0][::-1] == times[1]
        pictures = [stored_frames(store, one) for one in (forward, backward)]
        assert np.array_equal(pictures[0][::-1], pictures[1])
        assert rows[forward].group == rows[backward].group
        assert rows[forward].label == rows[backward].label


@pytest.mark.parametrize(("family", "short"), [("videomae", "repeat"), ("dinov2", "pad")])
def test_a_backbone_sees_what_the_reversed_video_would_show_it(
    family: str,
    short: str,
    extract: Extract,
    write_video: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Two files without loss, of 9, 3 and 4 frames, one the reverse of the other."""
    random = np.random.default_rng(0)
    table = tmp_path / "both.csv"
    lossless = {"codec": "ffv1", "pix_fmt": "bgr0"}
    with table.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "path", "label"])
        for count in (9, 3, 4):
            images = random.integers(0, 256, (count, 64, 96, 3), dtype=np.uint8)
            for name, shown in (("forward", images), ("backward", images[::-1])):
                path = write_video(tmp_path / f"{name}{count}.mkv", shown, **lossless)
                writer.writerow([f"{name}{count}", path, "any"])
    settings: dict[str, Any] = {"root": table, "tokens": "grid2", "batch": 8, "short": short}
    assert extract(family, **settings, views="reversed", frames=4) == 0
    store = open_store(tmp_path / "store")
    assert store.spec.token_scope == ("clip" if family == "videomae" else "frame")
    for count in (9, 3, 4):
        if count == 3 and short == "repeat":
            continue  # which frame is repeated is not symmetric
        turned = store.read([f"forward{count}@reversed-center"])[0]
        assert np.abs(turned - store.read([f"backward{count}@center"])[0]).max() < 1e-4
        if family == "videomae":
            forward = store.read([f"forward{count}@center"])[0]
            assert np.abs(turned - forward[::-1]).max() > 1e-3
        records = [store.record(f"{way}@center") for way in (f"forward{count}", f"backward{count}")]
        assert records[0].distinct_frames == records[1].distinct_frames


def test_the_arrow_takes_a_store_of_a_video_backbone(extract: Extract, tmp_path: Path) -> None:
    assert extract("videomae", views="reversed", tokens="grid2", batch=8) == 0
    place = tmp_path / "store"
    store = open_store(place)
    labels = sorted({row.label for row in store.clips()})
    pairs = dict(zip(labels[::2], labels[1::2], strict=True))
    pairs |= {b: a for a, b in pairs.items()}
    store.replace_classes(
        [ClassRow(name, index, partner=pairs[name]) for index, name in enumerate(labels)]
    )
    command = ("probe", "--method", "linear,first-last", "--epochs", 1, "--store", place)
    runs = ("--runs", tmp_path / "runs")
    for answer in ("class", "direction"):
        done = invoke(*command, *runs, "--task", "arrow", "--answer", answer)
        assert done.exit_code == 0, done.output
    plain = tmp_path / "plain"
    assert extract("videomae", tokens="grid2", batch=8, store=plain) == 0
    refused = invoke(*command[:-1], plain, *runs, "--task", "arrow", "--answer", "direction")
    assert refused.exit_code != 0
    assert "extract with --views reversed" in refused.output
    twins = invoke(*command, *runs, "--task", "twins", "--answer", "direction")
    assert "only --task arrow takes such tokens" in twins.output
