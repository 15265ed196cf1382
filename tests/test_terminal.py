"""Untrusted names in every command's output: shown, not sent to a terminal or computed."""

import ast
import csv
import io
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import invoke

from stepcli.cache.schema.clips import ClassRow, ClipRecord, ClipRow
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
from stepcli.cache.store.store import create_store
from stepcli.probe.runs.cells import csv_cell, latex, markdown
from stepcli.runtime.terminal import shown

HOSTILE = "\x1b[31m\x1b]0;owned\x07 \u202egpj.exe\u2066 \x9b2J \r$x_1$ <b>|&%#{}"
OTHER = "=cmd|' /C calc'!A0\u200b\x00"[:-1] + "\x08"
PRINTING = r"(typer|click)\.s?echo|print|sys\.std(out|err)\.write|.*tqdm\.write"
ROOMS = ("apply", "cache", "runtime", "extract", "probe", "examples")


def harmless(text: str) -> None:
    """Only line breaks and tabs of all that steers a terminal or reorders text."""
    wrong = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert wrong <= {"\n", "\t"}, (sorted(wrong), text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("door-open/019", "door-open/019"),
        ("größe 東京 \u3000\xa0 🎬", "größe 東京 \u3000\xa0 🎬"),
        ("a\x1b[0m", "a\\x1b[0m"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202eabc", "\\u202eabc"),
        ("\udcff", "\\udcff"),
        ("\x9b", "\\x9b"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_steers_a_terminal_is_shown(text: str, expected: str) -> None:
    assert shown(text) == expected


def calls_of_printing(path: Path) -> list[str]:
    """Calls that print without `stepcli.runtime.terminal`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if re.fullmatch(
            r"(typer|click)\.s?echo|print|sys\.std(out|err)\.write|.*tqdm\.write", name
        ):
            first = ast.unparse(node.args[0]) if node.args else ""
            if "shown(" not in first:
                found.append(f"{path.name}:{node.lineno} {name}")
        if name == "csv.writer" and "sys.stdout" in ast.unparse(node):
            found.append(f"{path.name}:{node.lineno} {name}")
    return found


def test_every_line_passes_one_place(project: Path) -> None:
    files = [
        project / "cli.py",
        *(path for room in ROOMS for path in (project / room).rglob("*.py")),
    ]
    files.remove(project / "runtime" / "terminal.py")  # the one place
    apart = {"render.py", "submit.py"}  # examples that are run by hand
    wrong = [call for path in files if path.name not in apart for call in calls_of_printing(path)]
    assert not wrong


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and two runs in which every name is hostile."""
    folder = tmp_path_factory.mktemp("terminal")
    spec = StoreSpec(
        backbone="made-up",
        weights_digest="0" * 64,
        segments=(Segment(name="cls", kind="prefix", count=1),),
        dim=8,
        frames=3,
        sampling="uniform",
        preprocessing={},
        dtype="float32",
    )
    store = create_store(folder / "store", spec, dataset=f"set {HOSTILE}")
    random = np.random.default_rng(0)
    rows = []
    with store.writer(
        Producer(source=HOSTILE, device=HOSTILE, numerics="x", versions={})
    ) as writer:
        for number in range(24):
            name = f"{number} {HOSTILE}"
            writer.add(
                ClipRecord(name, f"/videos/{name}.mp4", (0.0, 1.0, 2.0), 3, 8, 8),
                random.normal(size=(3, 1, 8)).astype(np.float32),
            )
            label = (HOSTILE, OTHER)[number % 2]
            rows.append(ClipRow(name, label, "test" if number >= 12 else "train", group=name))
    store.add_clips(rows)
    store.replace_classes([ClassRow(HOSTILE, 0, OTHER), ClassRow(OTHER, 1, HOSTILE)])
    place = ("--store", folder / "store", "--runs", folder / "runs", "--epochs", 1)
    done = invoke("probe", "--method", "linear,step", *place)
    assert done.exit_code == 0, done.output or repr(done.exception)
    harmless(done.output)
    for path in (folder / "runs").glob("*/run.json"):
        record = json.loads(path.read_text())
        for name in ("dataset", "backbone", "split", "task"):
            record[name] = f"{name} {HOSTILE}"
        record["warnings"] = [f"warned of {HOSTILE}"]
        path.write_text(json.dumps(record))
    return folder


COMMANDS = (
    "store info --store {store}",
    "store ls --store {store}",
    "store verify --store {store}",
    "store labels --store {store}",
    "results --runs {runs}",
    "results --runs {runs} --format markdown",
    "results --runs {runs} --format latex",
    "results --runs {runs} --format csv",
    "results --runs {runs} --format json",
    "results --runs {runs} --compare linear,step",
    "analyse --runs {runs}",
    "analyse {runs}",
    "order {runs} --store {store}",
    "calibrate {runs} --store {store}",
    "doctor",
    "plan --dataset csv --root {lists}/clips.csv",
    "extract --dataset csv --root {lists}/clips.csv --backbone mobilenet_v2-bundled",
    "extract --dataset csv --root {lists}/twice.csv --backbone mobilenet_v2-bundled",
    "extract --dataset ssv2 --root {lists}",
    "extract --dataset {hostile} --root {lists}",
    "probe --method {hostile} --store {store}",
    "probe --method linear --store {lists}/{hostile}",
    "probe --method linear --store {store} --train-split {hostile}",
    "predict {runs}/{hostile} --video {hostile}",
    "predict {run} --video {hostile}",
    "export {run} --out {lists}/out",
    "push {run} --to {lists}/pushed",
    "pull {lists}/{hostile}",
    "picture {hostile} --store {store}",
    "store show {hostile} --store {store}",
    "{hostile}",
    "store {hostile}",
    "probe --{hostile}",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_sends_it(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = HOSTILE.replace("/", "")
    (tmp_path / "clips.csv").write_text(
        f'id,path,label\n"{HOSTILE}","{tmp_path}/{hostile}.mp4","{HOSTILE}"\n', newline=""
    )
    (tmp_path / "twice.csv").write_text(f'id,path,label\n"{HOSTILE}",a.mp4\n', newline="")
    (run,) = (folder / "runs").glob("linear-*")
    values = {
        "store": folder / "store",
        "runs": folder / "runs",
        "run": run,
        "lists": tmp_path,
        "hostile": hostile,
    }
    done = invoke(*(word.format(**values) for word in command.split()))
    assert done.output
    if not isinstance(done.exception, SystemExit | None):
        raise done.exception
    harmless(done.stdout)
    harmless(done.stderr)


def test_not_even_a_traceback_sends_it(tmp_path: Path) -> None:
    words = ("store", "info", "--store", f"{tmp_path}/{HOSTILE}", "--debug")
    done = subprocess.run(
        [sys.executable, "-m", "stepcli.cli", *words], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    harmless(done.stderr)


def test_a_report_shows_it(folder: Path, tmp_path: Path) -> None:
    done = invoke(
        "report", folder / "runs", "--out", tmp_path, "--store", folder / "store", "--no-pdf"
    )
    assert done.exit_code == 0, done.output or repr(done.exception)
    harmless(done.output)
    page = (tmp_path / "index.html").read_text()
    harmless(page)
    assert "\\u202egpj.exe" in page
    figures = list((tmp_path / "figures").glob("*.svg"))
    assert len(figures) > 5
    for figure in figures:
        ElementTree.fromstring(figure.read_text())
        harmless(figure.read_text())
    for table in (tmp_path / "tables").glob("*.csv"):
        harmless(table.read_text())
        for row in csv.reader(io.StringIO(table.read_text())):
            for cell in row:
                assert not re.match(r"[=@]|[+-](?![\d.]|$)", cell), (table.name, cell)
    for table in (tmp_path / "tables").glob("*.tex"):
        text = table.read_text()
        harmless(text)
        assert not re.search(r"(?<!\\)[$#&%_{}](?=x_1|\W*owned)", text)
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_a_dollar_in_a_figure_begins_no_formula(tmp_path: Path) -> None:
    """An even number of them would be typeset, and an unknown command in it is an error."""
    from stepcli.probe.report.style import canvas, figure_text, finish, styled

    name = r"$\frac{$ x_1 \$5 $"
    with styled():
        drawn, axes = canvas(2.0)
        axes.plot([1, 10], [1, 2], label=name)
        axes.set_xscale("log")
        axes.set_title(name)
        axes.set_yticks([1, 2], [name, "b"])
        axes.legend()
        made = finish(drawn, "x", name, "", name)
        assert b"<svg" in made.svg
        assert made.pdf().startswith(b"%PDF")
    texts = [label.get_text() for label in axes.get_yticklabels()]
    assert texts[0] == figure_text(name)
    assert not axes.title._preprocess_math(axes.title.get_text())[1]
    assert axes.title._preprocess_math(axes.title.get_text())[0] == name
    # The powers of ten on a logarithmic axis are ours, and stay typeset.
    assert "$" in axes.get_xticklabels()[1].get_text()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd", "'+cmd"),
        ("-1+cmd|' /C'!A0", "'-1+cmd|' /C'!A0"),
        ("\t=1", "'\\t=1"),
        ("\r=1", "'\\r=1"),
        ("＝1+1", "'＝1+1"),
        ("--flag", "'--flag"),
        ("-0.5", "-0.5"),
        ("+1,234.5", "+1,234.5"),
        ("-1e-05", "-1e-05"),
        ("-0.5 ± 0.1", "-0.5 ± 0.1"),
        ("-0.5 to -0.1", "-0.5 to -0.1"),
        ("-", "-"),
        ("step", "step"),
        ("", ""),
        (-0.5, -0.5),
        (None, None),
    ],
)
def test_cells_for_people(value: Any, expected: Any) -> None:
    assert csv_cell(value) == expected


def test_latex_and_markdown_keep_the_text() -> None:
    assert latex(r"a_b $x$ 5% {c} \d ~ ^ & # [e]* \"f`") == (
        r"a\_b \$x\$ 5\% \{c\} \textbackslash{}d \textasciitilde{} \textasciicircum{} \& \# "
        r"{[}e{]}{*} \textbackslash{}\textquotedbl{}f\textasciigrave{}"
    )
    assert latex("a\nb") == r"a\textbackslash{}nb"
    assert markdown("a|b<script>`") == r"a\|b&lt;script>'"
