"""`stepcli methods`: a table, and one method with its options and an example to run."""

import itertools
import re
import shlex

import pytest
from command_line import invoke

from stepcli.cache.store.store import Store
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.sweeps.expand import parse_settings


def test_methods_are_a_table_and_one_shows_its_options() -> None:
    table = invoke("methods").stdout.split("\n\n")[0].splitlines()
    head, rule, *rows = table
    assert head.split() == ["method", "order", "source"]
    assert set(rule) == {"-", " "}
    assert max(map(len, table)) <= 80
    (row,) = (row for row in rows if row.startswith("step "))
    assert row.split(maxsplit=2) == ["step", "yes", "STEP, arXiv 2503.24298 (ICRA 2026)"]
    lines = invoke("methods", "evl").stdout.splitlines()
    assert lines[0] == "evl: EVL's decoder, arXiv 2208.03550"
    assert "  needs: a store with the last 4 layers" in lines
    assert "  its authors' settings (--recipe-mode own): lr=0.0004, weight_decay=0.05" in lines
    assert any(
        re.fullmatch(r"    heads=\d+ +attention heads; must divide the channels", line)
        for line in lines
    )
    assert max(map(len, lines)) <= 80
    assert re.fullmatch(r"  example: stepcli probe --method evl --set \w+=\S+", lines[-1])
    assert "did you mean step" in invoke("methods", "stpe").stderr


@pytest.mark.parametrize("name", methods().names())
def test_the_example_of_each_method_is_one_to_run(name: str) -> None:
    words = shlex.split(invoke("methods", name).stdout.splitlines()[-1])
    assert words[:5] == ["example:", "stepcli", "probe", "--method", name]
    settings = [word for flag, word in itertools.pairwise(words) if flag == "--set"]
    chosen = parse_settings(settings, [name])[name]
    info = methods().get(name)
    parse_options(info, {option: ",".join(values) for option, values in chosen.items()})


def test_methods_count_their_parameters_on_a_store(store: Store) -> None:
    done = invoke("methods", "--store", store.path)
    assert done.exit_code == 0, done.output
    # 4D^2 + 4D attention + TD encoding + D CLS + head, with D = 16, T = 6 and two classes.
    count = f"{4 * 256 + 64 + 6 * 16 + 16 + 34:,}"
    assert re.search(rf"^step +yes +{count}  STEP", done.stdout, re.MULTILINE)
    assert "xclip: this method compares tokens with texts" in done.stdout
    assert f"parameters: {count}" in invoke("methods", "step", "--store", store.path).stdout
