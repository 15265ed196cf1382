"""Copies in a store: equal tokens of different clips, from checksums; groups united by them."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recording_store
from sample_clips import PRODUCER, SPEC, make_record, make_tokens
from store_commands import run
from typer.testing import CliRunner

from stepcli.cache import create_store
from stepcli.cache.cli.store import app
from stepcli.cache.maintenance.draw_split import _draw_into
from stepcli.cache.schema.clips import ClipRow, Source
from stepcli.cache.schema.groups import group_keys, plain_names
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.schema.split_names import normalise_split
from stepcli.cache.store import duplicates
from stepcli.cache.store.duplicates import chance_pairs, describe_copies, find_copies
from stepcli.cache.store.store import Store

Clip = tuple[str, str, str, float]
"""Stored id, whose tokens, source file, start of its window."""


def fill(path: Path, clips: list[Clip], spec: StoreSpec = SPEC, **how: Any) -> Store:
    store = create_store(path, spec, dataset="test", format=how.pop("form", "zarr"))
    with store.writer(PRODUCER, part_clips=2, **how) as writer:
        for clip, like, source, start in clips:
            times = tuple(start + 0.25 * number for number in range(spec.frames))
            record = replace(make_record(clip, spec.frames), source=source, pts_seconds=times)
            writer.add(record, make_tokens(like, spec))
    store.refresh()
    return store


def plain(*ids: str) -> list[Clip]:
    """Clips of a source each; what follows "=" in an id names the tokens."""
    return [(i.split("=")[0], i.split("=")[-1], f"{i.split('=')[0]}.mp4", 0.0) for i in ids]


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_equal_tokens_are_found_over_parts(tmp_path: Path, form: Format) -> None:
    store = fill(tmp_path, plain("a", "b", "c=a", "d", "e=b", "f=a"), form=form)
    found = find_copies(store)
    assert found.sets == (("a", "c", "f"), ("b", "e"))
    assert (found.clips, found.unconfirmed) == (5, 0)
    assert find_copies(store, most_compared=0).unconfirmed == 5
    assert find_copies(store, most_compared=0).sets == found.sets


@pytest.mark.parametrize("dtype", ["int8", "int8-channel", "bfloat16", "float32"])
def test_scales_count_as_tokens(tmp_path: Path, dtype: str) -> None:
    """int8 tokens of a clip and of the same clip twice as bright are equal, not their scales."""
    spec = StoreSpec.model_validate({**dict(SPEC), "dtype": dtype})
    store = create_store(tmp_path, spec, dataset="test")
    with store.writer(PRODUCER) as writer:
        for clip, factor in (("a", 1), ("b", 1), ("bright", 2)):
            writer.add(
                replace(make_record(clip), source=f"{clip}.mp4"), factor * make_tokens("a", spec)
            )
    store.refresh()
    assert find_copies(store).sets == (("a", "b"),)


def test_views_and_windows_are_no_copies(tmp_path: Path) -> None:
    clips = [
        # A square video: its crops are equal, and so are both ends of the same video's crops.
        ("square@left", "s", "square.mp4", 0.0),
        ("square@right", "s", "square.mp4", 0.0),
        # A video in which nothing moves, cut into windows.
        ("still@0-1", "t", "still.mp4", 0.0),
        ("still@1-2", "t", "still.mp4", 1.0),
        # Two rows of a list with one file and the same stretch of it.
        ("row1", "k", "kinetics.mp4", 5.0),
        ("row2", "k", "kinetics.mp4", 5.0),
        # Another view of a copy.
        ("one@left", "l", "one.mp4", 0.0),
        ("one@right", "r", "one.mp4", 0.0),
        ("two@left", "l", "two.mp4", 0.0),
        ("two@right", "r", "two.mp4", 0.0),
        # A chain: x and y are alike in one view, y and z in another.
        ("x@left", "xl", "x.mp4", 0.0),
        ("y@left", "xl", "y.mp4", 0.0),
        ("y@right", "yr", "y.mp4", 0.0),
        ("z@right", "yr", "z.mp4", 0.0),
        # The same windows in another file are copies of both.
        ("w@0-1", "w", "w.mp4", 0.0),
        ("w@1-2", "w", "w.mp4", 1.0),
        ("w-again", "w", "v.mp4", 0.0),
    ]
    random.Random(0).shuffle(clips)
    assert find_copies(fill(tmp_path, clips)).sets == (
        ("one", "two"),
        ("row1", "row2"),
        ("w-again", "w@0-1", "w@1-2"),
        ("x", "y", "z"),
    )


@pytest.mark.parametrize("dtype", ["float32", "int8-channel"])
@pytest.mark.parametrize("layers", [1, 2])
def test_windows_of_recordings_in_which_nothing_moves_are_no_copies(
    tmp_path: Path, dtype: str, layers: int
) -> None:
    """Ten recordings may begin with a black picture; the same moving lead-in is one of copies."""
    spec = recording_store.SPEC.model_copy(
        update={"dtype": dtype, "layers": tuple(range(-layers, 0))}
    )
    tokens = {name: recording_store.step_tokens(name, 12, spec) for name in ("a", "b", "c")}
    for name in ("a", "b"):
        tokens[name][:6] = tokens["c"][0]
    tokens["b"][8:] = tokens["c"][8:]
    store = recording_store.window_store(tmp_path / "store", tokens, "4@2fps/2", spec=spec)
    assert find_copies(store).sets == (("b@w000004", "c@w000004"),)


def test_equal_files_are_copies_whatever_their_tokens(tmp_path: Path) -> None:
    """A GPU rounds differently in another batch; the same stretch of the same bytes is the same."""
    store = create_store(tmp_path, SPEC, dataset="test")
    sources = {
        "a@left": ("1" * 64, ""),
        "a@right": ("1" * 64, ""),
        "b": ("1" * 64, ""),
        "window 0": ("2" * 64, "0-1 s"),
        "window 1": ("2" * 64, "1-2 s"),
        "again 1": ("2" * 64, "1-2 s"),
        "c": ("3" * 64, ""),
        "d": ("4" * 64, ""),
    }
    with store.writer(PRODUCER, part_clips=3) as writer:
        for clip, (digest, segment) in sources.items():
            source = Source("/data", f"{clip}.mp4", 9, 9, f"sha256:{digest}", segment)
            # The tokens of c and b are equal, so a, b and c are one set.
            tokens = make_tokens("b" if clip == "c" else clip)
            writer.add(replace(make_record(clip), source=f"{clip}.mp4", origin=source), tokens)
    with store.writer(PRODUCER) as writer:  # by an earlier version: its sources are not recorded
        for clip in ("old", "older"):
            writer.add(make_record(clip), make_tokens(clip))
    store.refresh()
    assert find_copies(store).sets == (("a", "b", "c"), ("again 1", "window 1"))
    told = {one["clips"][0]["id"]: one["files"] for one in describe_copies(store)["sets"]}
    assert told == {"a": "different", "again 1": "equal"}
    text = CliRunner().invoke(app, ["duplicates", "--store", str(tmp_path)]).stdout.splitlines()
    assert text[3:5] == [
        "2\tagain 1\t\t\tfiles equal",
        "2\twindow 1\t\t\tfiles equal",
    ]
    assert text[5] == (
        "5 of 9 clips are in 2 sets of copies; 0 test clips copied in train; 0 sets with more "
        "than one label"
    )


def test_an_equal_checksum_alone_makes_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pairs that share a checksum, as six of 220,847 clips' pairs do: tokens are compared."""
    store = fill(tmp_path, plain("a", "b=a", "c", "d=c", "e"))
    checksums = np.full(5, 7, np.uint32)
    monkeypatch.setattr(store, "_snapshot", replace(store.snapshot, crc32c_of=checksums))
    assert find_copies(store).sets == (("a", "b"), ("c", "d"))
    assert 5 < chance_pairs(220_847) < 6


def test_no_token_is_read_where_checksums_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(tmp_path, plain("a", "b", "c", "d", "e=d"))
    read: list[int] = []
    plainly = store.read_arrays
    monkeypatch.setattr(
        store, "read_arrays", lambda clips: read.append(len(clips)) or plainly(clips)
    )
    assert find_copies(store).sets == (("d", "e"),)
    assert read == [2]
    assert find_copies(fill(tmp_path / "none", [])).sets == ()


def test_a_part_that_is_compacted_away_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(tmp_path, plain("a", "b", "c=a"))
    plainly = duplicates._origins
    calls: list[int] = []

    def once_gone(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise FileNotFoundError(2, "No such file", "index.parquet")
        return plainly(*args)

    monkeypatch.setattr(duplicates, "_origins", once_gone)
    assert find_copies(store).sets == (("a", "c"),)


def test_the_command_lists_splits_and_labels(tmp_path: Path) -> None:
    store = fill(tmp_path / "s", plain("a", "b=a", "c", "d=c", "e"))
    splits = {"a": "train", "b": "Testing", "c": "train", "d": "train", "e": "test"}
    labels = {"d": "other"}
    store.add_clips([ClipRow(c, labels.get(c, "x"), split) for c, split in splits.items()])
    found = run("duplicates", "--store", store.path)
    listed = [[row["id"] for row in one["clips"]] for one in found["sets"]]
    assert listed == [["a", "b"], ["c", "d"]]
    assert found["sets"][0]["clips"][1]["split"] == "Testing"
    assert found["sets"][0]["files"] == "unknown"
    assert (found["clips"], found["copies"]) == (5, 4)
    assert found["test_clips_copied_in_train"] == 1
    assert found["sets_with_several_labels"] == 1
    assert len(run("duplicates", "--store", store.path, "--limit", 1)["sets"]) == 1


def test_a_drawn_split_keeps_copies_on_one_side(tmp_path: Path) -> None:
    """Copies of each clip under another group's name; some have a split, in any spelling."""
    ids = [f"{kind}{n}" for n in range(8) for kind in ("a", "b")]
    store = fill(tmp_path / "s", plain(*(f"{i}=a{i[1:]}" for i in ids)))
    rows = [ClipRow(i, f"label {int(i[1:]) % 2}", group=f"{i[0]}'s {int(i[1:]) // 2}") for i in ids]
    given = {"a0": "Test", "b2": "training", "a4": "train", "b5": "test"}
    store.add_clips([replace(row, split=given.get(row.id, "")) for row in rows])
    found = run("labels", "--store", store.path, "--test-share", 0.5)
    split = {row.id: row.split for row in store.clips()}
    assert {split[i] for i in ("b0", "a1", "b1")} == {"test"}
    assert {split[i] for i in ("a2", "a3", "b3")} == {"train"}
    # a4, b4, a5 and b5 are one group, torn before: nothing more is put on either side.
    assert (split["b4"], split["a5"], found["torn"]) == ("", "", ["a's 2"])
    assert len({split[i] for i in ("a6", "b6", "a7", "b7")} - {"train", "test"}) == 0
    assert len({split[i] for i in ("a6", "b6", "a7", "b7")}) == 1
    assert (found["followed"], found["kept"]) == (6, 4)


def test_no_draw_tears_a_group() -> None:
    """Random tables: groups, views, copies, and splits that some clips have already."""
    draw = random.Random(2)
    for _ in range(60):
        rows = [
            ClipRow(
                f"c{i // 2}@{'left' if i % 2 else 'right'}",
                draw.choice("ab"),
                draw.choice(["", "", "", "train", "Test", "val"]),
                draw.choice(["", "g0", "g1", "g2", "g3"]) if i % 2 == 0 else "",
            )
            for i in range(40)
        ]
        rows = [replace(r, group=rows[i - i % 2].group) for i, r in enumerate(rows)]
        sets = [tuple(draw.sample([f"c{i}" for i in range(20)], 2)) for _ in range(3)]
        if all(row.split for row in rows):
            continue
        drawn, changed = _draw_into(rows, sets, draw.choice([0.1, 0.25, 0.5]), Path())
        before: dict[str, set[str]] = {}
        after: dict[str, set[str]] = {}
        for row, now, key in zip(rows, changed, group_keys(rows, sets), strict=True):
            assert not row.split or now == row
            before.setdefault(key, set()).update({normalise_split(row.split)} - {""})
            after.setdefault(key, set()).add(normalise_split(now.split))
        for key, splits in before.items():
            if len(splits) <= 1:
                assert len(after[key]) == 1
                assert after[key] >= splits
                assert after[key] != {""}
            else:
                assert after[key] <= {*splits, ""}
        counts = drawn.train + drawn.test + drawn.followed + drawn.kept
        assert counts == sum(row.split != "" for row in changed)


def test_copies_unite_groups() -> None:
    rows = [
        ClipRow("a", "x", group="day 1"),
        ClipRow("b", "x", group="day 2"),
        ClipRow("c", "x", group="day 2"),
        ClipRow("d", "x"),
        ClipRow("e@left", "x"),
        ClipRow("e@right", "x"),
        ClipRow("day 1", "x"),
        ClipRow("f", "x", group="  "),
    ]
    alone = group_keys(rows)
    assert alone == [
        *("group day 1", "group day 2", "group day 2", "clip d", "clip e", "clip e"),
        *("clip day 1", "clip f"),
    ]
    assert plain_names(alone) == ["day 1", "day 2", "day 2", "d", "e", "e", "clip day 1", "f"]
    united = group_keys(rows, [("a", "c"), ("d", "e"), ("b", "d"), ("f", "elsewhere")])
    assert united == ["group day 1"] * 6 + ["clip day 1", "clip f"]
    assert group_keys(rows, [("d", "f")])[3] == group_keys(rows, [("f", "d")])[7] == "clip d"


def test_united_groups_are_the_components_of_a_graph() -> None:
    """Against a closure by repeated merging, in any order of the sets."""
    draw = random.Random(1)
    for _ in range(50):
        rows = [ClipRow(f"c{i}", "x", group=draw.choice(["", "g0", "g1", "g2"])) for i in range(12)]
        sets = [tuple(f"c{draw.randrange(12)}" for _ in range(2)) for _ in range(6)]
        keys = group_keys(rows, sets)
        parts = [{i} for i in range(12)]
        ties = [{int(c[1:]) for c in members} for members in sets]
        ties += [{i for i, r in enumerate(rows) if r.group == g} for g in ("g0", "g1", "g2")]
        for tie in [*ties] * 12:
            hit = [part for part in parts if part & tie]
            parts = [part for part in parts if not part & tie] + (
                [set().union(*hit)] if hit else []
            )
        for part in parts:
            assert len({keys[i] for i in part}) == 1
        assert len(set(keys)) == len(parts)
        draw.shuffle(sets)
        assert group_keys(rows, sets) == keys
