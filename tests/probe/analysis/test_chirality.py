"""The chirality protocol: each group alone, then the mean."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stepcli.cache.store.store import Store
from stepcli.cli import app
from stepcli.probe.analysis.chiral_groups import ChiralGroup, read_groups
from stepcli.runtime.errors import UsageError

HEAD = "verb_forward,verb_reverse,noun_abstract,triplet_id,id_forward,id_reverse,split\n"


def published(path: Path) -> Path:
    """Two triplets of the store's clips with splits of their own, and one that is not there."""
    lines = [f"open,close,door,7,open/{n},close/{n % 4},train" for n in range(6)]
    lines += [f"open,close,door,7,open/{n},close/{n},validation" for n in (8, 9, 10)]
    lines += [f"move up,move down,,8,push/{n},pull/{n},train" for n in range(4)]
    lines += [f"move up,move down,,8,push/{n},pull/{n},validation" for n in (4, 5)]
    lines += ["fold,unfold,paper,9,gone/1,gone/2,train"]
    path.write_text(HEAD + "".join(f"{line}\n" for line in lines))
    return path


def test_published_groups_are_read_clip_by_clip(tmp_path: Path) -> None:
    door, move, paper = read_groups(published(tmp_path / "ssv2.csv"))
    assert (door.name, door.labels) == ("7: open / close door", ("open", "close"))
    assert (move.name, move.labels) == ("8: move up / move down", ("move up", "move down"))
    assert door.clips is not None
    assert len(door.clips) == 6 + 4 + 3 + 3
    assert door.clips["open/5"] == ("open", "train")
    assert door.clips["close/9"] == ("close", "val")
    assert paper.clips == {"gone/1": ("fold", "train"), "gone/2": ("unfold", "train")}
    text = (tmp_path / "ssv2.csv").read_text()
    (tmp_path / "other.csv").write_text(text.replace(",", ";"))
    assert read_groups(tmp_path / "other.csv") == [door, move, paper]
    (tmp_path / "own.csv").write_text("group,label\nx,a\nx,b\n")
    assert read_groups(tmp_path / "own.csv") == [ChiralGroup("x", ("a", "b"))]


def test_published_groups_are_tested_on_their_own_clips_and_splits(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    labels = ("close", "open", "push", "pull")
    store = store_of(tmp_path / "store", labels=labels, partners={}, clips_each=12)
    words = ["chirality", str(published(tmp_path / "c.csv")), "--store", str(store.path)]
    options = ["--seeds", "2", "--epochs", "20", "--json"]
    found = {}
    for method in ("linear", "concat"):
        done = CliRunner().invoke(app, [*words, *options, "--method", method])
        assert done.exit_code == 0, done.output
        found[method] = json.loads(done.stdout)
        assert "2 clips of the table not in the store" in done.stderr
        assert "left out: 9: fold / unfold paper: not every class has clips in train" in done.stderr
    door, move = found["concat"]["groups"]
    # Neither the store's labels nor its splits: open/8, a training clip, is tested here.
    assert (door["classes"], door["train_clips"], door["test_samples"]) == (2, 10, 6)
    assert (move["train_clips"], move["test_samples"]) == (8, 4)
    assert found["concat"]["mean_top1"] == 1
    assert found["linear"]["mean_top1"] < 0.9
    mean = sum(each["top1"] for each in found["linear"]["groups"]) / 2
    assert found["linear"]["mean_top1"] == pytest.approx(mean)


def test_a_table_of_other_clips_is_refused_with_ids_of_both(store: Store, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(f"{HEAD}open,close,door,0,P01_01_0,P01_01_1,train\n")
    done = CliRunner().invoke(
        app, ["chirality", str(tmp_path / "c.csv"), "--store", str(store.path)]
    )
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "none of the 2 clips of the table is in the store" in said
    assert "'P01_01_0', 'P01_01_1', the store 'close/0'" in said


def test_each_group_has_a_probe_of_its_own(store_of: Callable[..., Store], tmp_path: Path) -> None:
    partners = {"close": "open", "open": "close", "push": "pull", "pull": "push"}
    labels = ("close", "open", "push", "pull", "wave")
    store = store_of(tmp_path / "store", labels=labels, partners=partners, clips_each=12)
    groups = tmp_path / "groups.csv"
    groups.write_text("group,label\ndoor,open\ndoor,close\nhand,push\nhand,pull\nno,wave\nno,fly\n")
    words = ["chirality", str(groups), "--store", str(store.path), "--seeds", "2"]
    found = {}
    for method in ("linear", "concat"):
        done = CliRunner().invoke(app, [*words, "--method", method, "--epochs", "20", "--json"])
        assert done.exit_code == 0, done.output
        found[method] = json.loads(done.stdout)
        assert "left out: no: not a class of the store: 'fly'" in done.stderr
    assert [each["group"] for each in found["concat"]["groups"]] == ["door", "hand"]
    assert [each["test_samples"] for each in found["concat"]["groups"]] == [8, 8]
    # These clips drift along one axis, up or down: only what sees order can tell.
    assert found["concat"]["mean_top1"] == 1
    assert found["linear"]["mean_top1"] < 0.9
    text = CliRunner().invoke(app, [*words, "--epochs", "1"]).stdout
    assert "mean over 2 groups" in text
    assert max(map(len, text.splitlines())) <= 80
    # Several methods: a row for each and each group, with the numbers of each alone.
    several = ["--method", "linear,concat", "--epochs", "20"]
    done = CliRunner().invoke(app, [*words, *several, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == [found["linear"], found["concat"]]
    assert done.stderr.count("left out: no: not a class of the store: 'fly'") == 1
    lines = CliRunner().invoke(app, [*words, *several]).stdout.splitlines()
    rows = [line.split()[:2] for line in lines[1:5]]
    assert rows == [
        [method, group] for method in ("linear", "concat") for group in ("door", "hand")
    ]
    assert lines[0].split()[:2] == ["method", "group"]
    assert [line.split(":")[0] for line in lines[5:]] == ["linear", "concat"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("names", ["linear,lnear", "lnear"])
def test_an_unknown_method_of_a_list_is_named_before_anything_is_trained(
    names: str, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "g.csv").write_text("group,label\nx,open\nx,close\n")
    words = ["chirality", str(tmp_path / "g.csv"), "--store", str(store.path), "--method", names]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "unknown method 'lnear'" in " ".join(done.stderr.split())


def test_a_list_without_a_method_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("group,label\nx,open\nx,close\n")
    words = ["chirality", str(tmp_path / "g.csv"), "--store", str(store.path), "--method", ","]
    assert CliRunner().invoke(app, words).exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\na\n", "expected the columns group,label"),
        ("group,label\nx,a\n", "expected two or more"),
        ("group,label\nx,a\nx,a\n", "each once"),
        ("group,label\n", "has no group"),
        (f"{HEAD}", "has no group"),
        (f"{HEAD}open,close,door,0,a,b,\n", "line 2: split is empty"),
        (f"{HEAD}open,close,door,0,,b,train\n", "line 2: id_forward is empty"),
        (f"{HEAD}open,open,door,0,a,b,train\n", "expected two different verbs"),
        (
            f"{HEAD}open,close,door,0,a,b,train\nopen,close,lid,0,c,d,train\n",
            "line 3: triplet '0' is open / close / lid; expected two different verbs, and the same",
        ),
        (
            f"{HEAD}open,close,door,0,a,b,train\nopen,close,door,0,b,c,train\n",
            "line 3: clip 'b' of triplet '0' is 'open' in train, and 'close' in train before",
        ),
        (
            f"{HEAD}open,close,door,0,a,b,train\nopen,close,door,0,a,c,validation\n",
            "clip 'a' of triplet '0' is 'open' in val, and 'open' in train before",
        ),
        ("triplet_id,id_forward,id_reverse\n0,a,b\n", "missing: verb_forward"),
    ],
)
def test_groups_are_checked(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        read_groups(tmp_path / "g.csv")
