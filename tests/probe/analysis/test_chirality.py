"""The chirality protocol: each group alone, then the mean."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stepcli.cache.store.store import Store
from stepcli.cli import app
from stepcli.probe.analysis.chirality import read_groups
from stepcli.runtime.errors import UsageError


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\na\n", "expected the columns group,label"),
        ("group,label\nx,a\n", "expected two or more"),
        ("group,label\nx,a\nx,a\n", "each once"),
        ("group,label\n", "has no group"),
    ],
)
def test_groups_are_checked(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_groups(tmp_path / "g.csv")
