"""What the store's commands say to a person: every one of them, in words."""

import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_clips import PRODUCER, SPEC, fill_store, make_record, make_tokens
from typer.testing import CliRunner

from stepcli.cache import create_store
from stepcli.cache.cli.store import app
from stepcli.cache.schema.clips import ClassRow, ClipRow, Failure
from stepcli.cache.schema.padding import frame_mask
from stepcli.runtime.errors import DamagedStore, StepcliError, StoreNotFound, UsageError
from stepcli.runtime.progress import LINE_SECONDS, Progress


def say(*words: object, fails: type[StepcliError] | None = None) -> str:
    """What a command prints; where it fails, what was printed and the error."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if fails is None:
        assert done.exception is None, done.exception
        return done.output
    assert isinstance(done.exception, fails), done.exception
    return f"{done.output}{done.exception}"


def break_token(root: Path) -> str:
    """Flip a byte of the second clip of the only part; the part's name."""
    (part,) = (root / "parts").iterdir()
    file = part / "tokens.zarr" / "tokens" / "c.0.0.0.0"
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)
    return part.name


def test_a_whole_store(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "s", "zarr", 4, part_clips=2)
    store.add_clips([ClipRow("never", "x")])
    with store.writer(PRODUCER) as writer:
        writer.quarantine(Failure("bad", "bad.mp4", "VideoError", "no frames"))
    at = ("--store", tmp_path / "s")
    said = say("info", *at)
    assert "dataset:        test\n" in said
    assert "clips:          done 4, quarantined 1, left 1, in all 6\n" in said
    assert "parts:          2\n" in said
    assert "clip shape:     3 x 5 x 6\n" in said
    assert max(map(len, said.replace(str(tmp_path), "").splitlines())) <= 80
    lines = say("ls", *at).splitlines()
    assert lines[0] == "bad\tquarantined\t\t\tVideoError: no frames"
    assert lines[-1] == "never\tleft\tx\t\t"
    assert say("ls", *at, "--state", "done", "--limit", 1) == "clip-0000\tdone\tlabel 0\ttrain\t\n"
    said = say("show", "clip-0001", *at)
    assert "label:          label 1" in said
    assert "shape:          [3, 5, 6]" in said
    assert say("verify", *at).startswith("2 parts, 4 clips, ")
    assert say("repair", *at) == "nothing is damaged\n"
    said = say("compact", *at, "--dry-run")
    assert said.count("would rewrite part") == 2
    assert "2 parts rewritten, 0 removed: 4 clips copied, 0 superseded copies dropped" in said
    assert "rewrite part" in say("compact", *at)
    assert say("compact", *at).startswith("nothing to compact")


def test_a_damaged_store(tmp_path: Path) -> None:
    root = tmp_path / "s"
    fill_store(root, "zarr", 2, part_clips=2)
    name = break_token(root)
    said = say("verify", "--store", root, fails=DamagedStore)
    assert f"parts/{name}/tokens.zarr/tokens/c.0.0.0.0: its bytes do not match their digest" in said
    assert "damaged clip: clip-0001" in said
    said = say("repair", "--store", root, "--dry-run")
    assert f"would move part {name} to .damaged/: " in said
    assert "would drop clip clip-0001: extract makes it again" in said
    assert "1 damaged part, 1 whole clip kept, 1 clip dropped" in say("repair", "--store", root)
    (root / "tables.json").write_text("{}")
    assert "restore tables.json: written again for the tables as they are" in say(
        "repair", "--store", root
    )
    # A table that reads well but is not what was written may be the user's own edit.
    (root / "classes.csv").write_text("name,index,partner,kind,mirror,prompt\nopen,0,,,,\n")
    said = say("repair", "--store", root, fails=DamagedStore)
    assert "cannot restore classes.csv" in said
    assert (
        f"--classes {root}/classes.csv; to go back: stepcli store labels --classes a backup" in said
    )
    (root / "classes.csv").write_text("name\n")
    assert "delete it and run the same stepcli extract" in say(
        "repair", "--store", root, fails=DamagedStore
    )


def test_two_stores(tmp_path: Path) -> None:
    one = fill_store(tmp_path / "one", "zarr", 2)
    other = create_store(tmp_path / "other", SPEC, dataset="test", format="zarr")
    other.add_clips([ClipRow("clip-0000", "another label"), ClipRow("mine", "x")])
    other.replace_classes([ClassRow("x", 0)])
    with other.writer(PRODUCER) as writer:
        writer.add(make_record("mine"), make_tokens("mine"))
        writer.add(make_record("clip-0000"), make_tokens("clip-0000") * 1.5)
    said = say("compare", one.path, other.path)
    assert "clips: 1 compared, 0 identical; 1 only in A, 1 only in B" in said
    assert "token_error:" not in said
    assert "token error:    mean 0.49998" in said
    said = say("merge", one.path, other.path)
    assert f"of {other.path}" in said
    assert "clip clip-0000: its line in the clips table differs; the target's stays" in said
    assert "1 part, 2 clips, " in said
    assert "1 new line in the clips table" in said
    said = say("convert", one.path, tmp_path / "made", "--dtype", "int8", "--dry-run")
    assert said.startswith("would write 3 clips, ")
    assert not (tmp_path / "made").exists()
    say("convert", one.path, tmp_path / "made", "--dtype", "int8")
    assert "write 0 clips" in say("convert", one.path, tmp_path / "made", "--dtype", "int8")
    assert "spec: dtype: " in say("compare", one.path, tmp_path / "made", "--limit", 1)


def test_tokens_that_another_dtype_cannot_hold_are_quarantined_and_told(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"dtype": "float32"})
    store = create_store(tmp_path / "s", spec, dataset="test")
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("large"), np.full(SPEC.clip_shape, 1e6, np.float32))
        writer.add(make_record("zero"), np.zeros(SPEC.clip_shape, np.float32))
    done = CliRunner().invoke(
        app, ["convert", str(tmp_path / "s"), str(tmp_path / "t"), "--dtype", "float16"]
    )
    assert done.exit_code == 3
    assert "1 quarantined" in done.output
    assert "--state quarantined" in done.output
    said = say("compare", tmp_path / "s", tmp_path / "t")
    assert "1 compared, 1 identical" in said
    assert "15 tokens of norm zero left out" in said
    say("compare", tmp_path / "s", tmp_path / "nowhere", fails=StoreNotFound)


def test_labels(tmp_path: Path) -> None:
    root = tmp_path / "s"
    fill_store(root, "zarr", 2)
    say("labels", "--store", root, fails=UsageError)
    table = tmp_path / "labels.csv"
    assert say("labels", "--store", root, "--to", table) == f"write 2 lines to {table}\n"
    assert say("labels", "--store", root, "--to", tmp_path / "x", "--dry-run").startswith("would")
    table.write_text("id,label\nclip-0000,new\n")
    said = say("labels", "--store", root, "--from", table)
    assert said == "set clip-0000: label 'new'\n1 line, 1 clip changed\n"
    table.write_text("name,index,partner,kind,mirror,prompt\nnew,0,,,,\n")
    said = say("labels", "--store", root, "--classes", table)
    note = "note: 1 class of the store's clips not in the table: 'label 1'"
    assert said == f"{note}\nset 1 class\n"
    table.write_text("name,index,partner,kind,mirror,prompt\nnew,-1,,,,\n")
    said = say("labels", "--store", root, "--classes", table, fails=UsageError)
    assert said == f"{table}: line 2: index -1, expected 0 to 1048575"
    table.write_text("name,index,partner,kind,mirror,prompt\nnew,0,,,,\nnew,1,,,,\n")
    said = say("labels", "--store", root, "--classes", table, fails=UsageError)
    assert said == f"{table}: class name 'new' occurs twice; it must name one line"
    say("labels", "--store", root, "--classes", tmp_path / "nowhere.csv", fails=UsageError)


def test_the_only_store_is_found_and_two_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPCLI_STORES", str(tmp_path))
    assert "no feature store below" in say("info", fails=StoreNotFound)
    fill_store(tmp_path / "one", "zarr", 1)
    assert "dataset:" in say("info")
    fill_store(tmp_path / "two", "zarr", 1)
    assert "choose with --store" in say("info", fails=UsageError)


def test_progress_is_a_bar_on_a_terminal_and_a_line_now_and_then_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    plain = StringIO()
    monkeypatch.setattr(sys, "stderr", plain)
    with Progress("part", description="verify") as progress:
        progress.show(1, 4)
        now[0] += LINE_SECONDS
        progress.show(2, 4)
        progress.show(3, 4)
    assert plain.getvalue() == "verify: 2/4 parts, 0.1 parts/s, 20 s left\n"
    terminal: Any = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("part", description="verify") as progress:
        progress.show(1, 4)
        progress.show(4, 4)
    assert "verify" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()


def test_padding_is_masked_where_the_sampling_rule_pads() -> None:
    assert frame_mask("uniform", [1, 3], 3).all()
    found = frame_mask("uniform+pad", [1, 3], 3)
    assert found.tolist() == [[True, False, False], [True, True, True]]
