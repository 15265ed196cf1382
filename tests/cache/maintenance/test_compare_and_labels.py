"""Compare two stores; change labels without touching a token."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_clips import PRODUCER, SPEC, fill_store, make_record, make_tokens
from store_commands import files_of, run
from typer.testing import CliRunner

from stepcli.apply.cli.store import app
from stepcli.cache import create_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.spec import StoreSpec
from stepcli.runtime.errors import StoreError, UsageError


def test_compare_tells_the_worst_channel(tmp_path: Path) -> None:
    for name in "ab":
        store = create_store(tmp_path / name, SPEC, dataset="test")
        with store.writer(PRODUCER) as writer:
            tokens = make_tokens("clip")
            tokens[0, 0] = 0
            tokens[..., 4] *= 1.5 if name == "b" else 1
            writer.add(make_record("clip"), tokens)
            writer.add(make_record(f"only {name}"), tokens)
    found = run("compare", tmp_path / "a", tmp_path / "b")
    assert found["channel_error"]["where"] == "channel 4"
    assert found["channel_error"]["worst"] == pytest.approx(0.5, rel=1e-3)
    assert (found["only_in_a"], found["only_in_b"]) == (["only a"], ["only b"])
    assert found["zero_tokens"] == 1
    assert found["clips"] == 1
    text = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")]).stdout
    assert "channel 4" in text
    grid = StoreSpec.model_validate({**dict(SPEC), "frames": 4})
    fill_store(tmp_path / "c", "zarr", 1, spec=grid)
    with pytest.raises(UsageError, match="of one shape"):
        run("compare", tmp_path / "a", tmp_path / "c")


def test_compare_names_the_stores_as_they_are_called(tmp_path: Path) -> None:
    """Also where their names hold the words of other messages."""
    a, b = tmp_path / "asked store", tmp_path / "store asked"
    fill_store(a, "zarr", 2)
    run("convert", a, b, "--dtype", "int8")
    line = f"dtype: {a} 'float16', {b} 'int8'"
    assert run("compare", a, b)["spec_differences"] == [line]
    text = CliRunner().invoke(app, ["compare", str(a), str(b)]).stdout
    assert f"spec: {line}\n" in text


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_labels_change_without_touching_a_token(tmp_path: Path, suffix: str) -> None:
    store = fill_store(tmp_path / "s", "zarr", 4)
    table = tmp_path / f"new{suffix}"
    lines = ["id,label,note", 'clip-0001,"new, label",mine', "clip-0002,label 2,"]
    if suffix == ".csv":
        table.write_text("\n".join(lines) + "\n")
    else:
        columns = {"id": ["clip-0001", "clip-0002"], "label": ["new, label", "label 2"]}
        pq.write_table(pa.table(columns), table)
    parts = files_of(store.path / "parts")
    words = ("labels", "--store", store.path, "--from", table)
    plan = run(*words, "--dry-run")
    assert plan["changed"] == {"clip-0001": {"label": "new, label"}}
    assert store.clips()[1].label == "label 1"
    run(*words)
    assert store.clips()[1] == ClipRow("clip-0001", "new, label", "train")
    assert files_of(store.path / "parts") == parts
    assert verify_store(store.path).ok
    assert run("labels", "--store", store.path, "--to", tmp_path / "out.csv")["written"] == 4
    assert run("labels", "--store", store.path, "--from", tmp_path / "out.csv")["changed"] == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label\nx\n", "expected the columns id, found label"),
        ("id\nclip-0000\n", "expected a column id and at least one of"),
        ("id,label\nnobody,x\n", "none of 1 line names a clip of the store.*'nobody'.*'clip-0000'"),
        ("id,label\nclip-0000,x\nno1,x\nno2,x\n", "2 of 3 lines not in.*: 'no1', 'no2'"),
        ("id,label\nclip-0000,x\nclip-0000,y\n", "1 clip id appears more than once: 'clip-0000'"),
        ("id,label\nclip-0000,x\n clip-0000,x\n", "appears more than once: 'clip-0000'"),
        (
            "id,label\nclip-0000,x\nclip-0000,x\nno1,x\nno2,x\n",
            "once: 'clip-0000'; 2 of 4 lines name no clip of the store: 'no1', 'no2'; give",
        ),
        ("id,label\nclip-0000\n", "line 2: expected the 2 cells of the header, found 1"),
    ],
)
def test_label_tables_that_do_not_fit(tmp_path: Path, text: str, words: str) -> None:
    fill_store(tmp_path / "s", "zarr", 1)
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(UsageError, match=words):
        run("labels", "--store", tmp_path / "s", "--from", tmp_path / "new.csv")


@pytest.mark.parametrize("name", ["splt", "Split", " spilt", "spilts"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_misspelt_column_is_refused(tmp_path: Path, name: str, suffix: str) -> None:
    """Its cells would be ignored, and the others applied."""
    fill_store(tmp_path / "s", "zarr", 2)
    table = tmp_path / f"new{suffix}"
    if suffix == ".csv":
        table.write_text(f"id,label,{name}\nclip-0001,new,test\n")
    else:
        columns = {"id": ["clip-0001"], "label": ["new"], name: ["test"]}
        pq.write_table(pa.table(columns), table)
    with pytest.raises(UsageError, match=r"unknown column: '.*' looks like 'split'"):
        run("labels", "--from", table, "--store", tmp_path / "s")
    table.unlink()
    lines = ["id,label,path,note,start_seconds,splt,split", "clip-0001,new,a.mp4,,0,x,test"]
    table.with_suffix(".csv").write_text("\n".join(lines))
    run("labels", "--from", table.with_suffix(".csv"), "--store", tmp_path / "s")


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    fill_store(tmp_path / "s", "zarr", 2)
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "no folder" / "x.csv", tmp_path, tmp_path / "file" / "x.csv"):
        with pytest.raises(StoreError, match="give another file, or make its folder"):
            run("labels", "--to", out, "--store", tmp_path / "s")


def test_cells_are_stripped_splits_normalised_and_blanks_counted(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "s", "zarr", 4)
    table = tmp_path / "new.csv"
    table.write_text(
        "id;split; label\n clip-0000 ;Validation;label 0\nclip-0001; TEST ;x \nclip-0002;;label 2\n"
    )
    plan = run("labels", "--store", store.path, "--from", table)
    assert plan["changed"] == {
        "clip-0000": {"split": "val"},
        "clip-0001": {"split": "test", "label": "x"},
        "clip-0002": {"split": ""},
    }
    assert plan["blank"] == {"split": 1}
    (note,) = plan["notes"]
    assert "'Validation' as 'val' (1 clip)" in note
    assert plan["leakage"] == []
    assert [row.split for row in store.clips()] == ["val", "test", "", "train"]


def test_splits_that_tear_groups_or_that_nobody_uses_are_named(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "s", "zarr", 4)
    table = tmp_path / "new.csv"
    table.write_text("id,split,group\nclip-0000,test,day\nclip-0001,train,day\nclip-0002,tets,\n")
    plan = run("labels", "--store", store.path, "--from", table, "--dry-run")
    assert plan["notes"] == [
        "1 clip in splits that are not trained or tested on: 'tets' (1 clip) "
        "('tets' looks like 'test')"
    ]
    (warning,) = plan["leakage"]
    assert warning.startswith(
        "1 group in both train and test (day): 1 of 1 test clip shares a group"
    )


def test_ids_with_white_space_are_found_again(tmp_path: Path) -> None:
    """A folder may be called " open": its clips' ids begin with a space, in the store's table."""
    store = create_store(tmp_path / "s", SPEC, dataset="test")
    store.add_clips([ClipRow(" open/a.mp4", " open"), ClipRow("close/a.mp4", "close")])
    words = ("labels", "--store", store.path)
    run(*words, "--to", tmp_path / "out.csv")
    assert run(*words, "--from", tmp_path / "out.csv")["changed"] == {}
    (tmp_path / "new.csv").write_text("id,split\nopen/a.mp4,train\n")
    run(*words, "--from", tmp_path / "new.csv")
    assert store.clips()[0] == ClipRow(" open/a.mp4", " open", "train")


def test_labels_that_look_alike_are_named_and_made_one(tmp_path: Path) -> None:
    """A folder that a Mac wrote holds a decomposed "e"; a table may have either form."""
    store = create_store(tmp_path / "s", SPEC, dataset="test")
    nfd, nfc = "ferme\u0301r", "ferm\u00e9r"
    store.add_clips([ClipRow(f"{nfd}/a.mp4", nfd), ClipRow("b.mp4", " open")])
    words = ("labels", "--store", store.path)
    run(*words, "--to", tmp_path / "out.csv")
    assert run(*words, "--from", tmp_path / "out.csv")["changed"] == {}
    store.add_clips([ClipRow("c.mp4", "open"), ClipRow("d.mp4", "Open")])
    plan = run(*words, "--from", tmp_path / "out.csv", "--dry-run")
    (warning,) = plan["alike"]
    assert "'Open' (1 clip) and 'open' (2 clips)" in warning
    (tmp_path / "new.csv").write_text(f"id,label\n{nfc}/a.mp4,shut\nb.mp4,open\nd.mp4,open\n")
    assert run(*words, "--from", tmp_path / "new.csv")["alike"] == []
    assert sorted(row.label for row in store.clips()) == ["open", "open", "open", "shut"]


def test_clips_that_were_taken_out_stay_out_unless_named(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "s", "zarr", 3)
    store.replace_clips(store.clips()[:2])
    table = tmp_path / "new.csv"
    table.write_text("id,label\nclip-0000,x\n")
    run("labels", "--store", store.path, "--from", table)
    assert [row.id for row in store.clips()] == ["clip-0000", "clip-0001"]
    table.write_text("id,label\nclip-0002,x\n")
    run("labels", "--store", store.path, "--from", table)
    assert store.clips()[2] == ClipRow("clip-0002", "x")


def test_a_clips_table_edited_in_place_is_taken_over(tmp_path: Path) -> None:
    """With pandas, say, which compresses: it is read as it is, and verify says what to do."""
    store = fill_store(tmp_path, "zarr", 3)
    table = pq.read_table(tmp_path / "clips.parquet")
    labels = pa.array(["mine"] * 3)
    table = table.set_column(1, "label", labels)
    pq.write_table(table, tmp_path / "clips.parquet", compression="snappy")
    assert [row.label for row in store.clips()] == ["mine"] * 3
    (problem,) = verify_store(tmp_path).problems
    assert "stepcli store labels --from" in problem.problem
    run("labels", "--store", tmp_path, "--from", tmp_path / "clips.parquet")
    assert verify_store(tmp_path).ok
    assert [row.label for row in store.clips()] == ["mine"] * 3


def test_classes_are_taken_over_from_a_file(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "s", "zarr", 1)
    table = tmp_path / "classes.csv"
    table.write_text("name,index,partner,kind,mirror,prompt\nopen,0,close,equivariant,,a door\n")
    words = ("labels", "--store", store.path, "--classes", table)
    found = run(*words, "--dry-run")
    assert found["classes"] == 1
    assert found["notes"] == [
        "1 class of the store's clips not in the table: 'label 0'",
        "1 class of the table without a clip: 'open'",
        "1 class named as partner or mirror but not in the table: 'close'",
    ]
    assert store.classes() == []
    run(*words)
    assert store.classes()[0].partner == "close"
    assert verify_store(store.path).ok
    table.write_text("name,index,partner,kind,mirror,prompt\nopen,0,close,sideways,,a door\n")
    with pytest.raises(UsageError, match="kind 'sideways', expected one of"):
        run(*words)


def test_a_split_is_drawn_again_as_the_message_says(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "s", "zarr", 8)
    words = ("labels", "--store", store.path, "--test-share", "0.25")
    table = tmp_path / "clips.csv"

    def empty() -> None:
        run("labels", "--store", store.path, "--to", table)
        rows = list(csv.DictReader(table.read_text().splitlines()))
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows({**row, "split": ""} for row in rows)
        run("labels", "--store", store.path, "--from", table)

    empty()
    run(*words)
    with pytest.raises(UsageError, match=r"to draw one again, .* empty its column split"):
        run(*words)
    empty()
    run(*words)


def test_a_drawn_split_spares_groups_and_given_splits(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", SPEC, dataset="test")
    rows = [
        ClipRow(f"{label}{number}{view}", label, group=f"day {number // 2}" if grouped else "")
        for label, grouped in (("open", True), ("close", True), ("wave", False))
        for number in range(8)
        for view in ("@left", "@right")
    ]
    rows += [ClipRow("alone", "alone"), ClipRow("given", "open", "val", "day 0")]
    store.add_clips(rows)
    words = ("labels", "--store", store.path, "--test-share", 0.25)
    assert run(*words, "--dry-run")["test"] == 12
    assert {row.split for row in store.clips()} == {"", "val"}
    found = run(*words)
    # Two classes have two clips with two views each on day 0, which follow the given one.
    assert (found["train"], found["test"], found["followed"], found["kept"]) == (29, 12, 8, 1)
    assert found["untested"] == ["alone"]
    split_of: dict[str, set[str]] = {}
    for row in store.clips():
        split_of.setdefault(row.group or row.id.split("@")[0], set()).add(row.split)
    assert split_of["day 0"] == {"val"}
    assert all(len(splits) == 1 for splits in split_of.values())
    tested = {row.label for row in store.clips() if row.split == "test"}
    assert tested == {"open", "close", "wave"}
    with pytest.raises(UsageError, match="every clip of"):
        run(*words)
    with pytest.raises(UsageError, match="above 0 and below 1"):
        run("labels", "--store", store.path, "--test-share", 1.0)
