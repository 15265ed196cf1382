"""The report: one page that needs nothing else, and names from untrusted sources stay names."""

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import html5lib
import numpy as np
import pytest
from command_line import call

from stepcli.cache.store.store import Store
from stepcli.probe.report.order_figures import learning
from stepcli.probe.report.report_data import gather
from stepcli.probe.report.style import styled
from stepcli.probe.report.tables import ReportTable
from stepcli.probe.report.write import Report, write_report
from stepcli.probe.runs.published import read_published
from stepcli.runtime.errors import UsageError, VideoError

HOSTILE = "<script>alert('x')</script>&amp;\"_%$"
HTML = "{http://www.w3.org/1999/xhtml}"


def pictures(store: Store, clip: str) -> np.ndarray:
    """In place of a video: frames that get brighter."""
    if clip.endswith("17"):
        raise VideoError("cannot be read")
    return np.full((store.spec.frames, 40, 60, 3), 90, np.uint8) + np.arange(
        store.spec.frames, dtype=np.uint8
    ).reshape(-1, 1, 1, 1)


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]
) -> tuple[Report, Path]:
    """Runs of every kind on two tasks, one class with a name that is code, and their report."""
    folder = tmp_path_factory.mktemp("report")
    partners = {"close": HOSTILE, HOSTILE: "close"}
    store_of(folder / "store", labels=("close", HOSTILE, "wave"), partners=partners, clips_each=36)
    common = ("--store", folder / "store", "--runs", folder / "runs")
    # Trained until the probes are confident, also where they are wrong.
    certain = ("--epochs", 30, "--batch-size", 8, "--lr", 3e-3, "--label-smoothing", 0)
    call("probe", "--method", "linear,first-frame,step", "--seeds", 2, *certain, *common)
    arrow = ("--task", "arrow", "--clip-frames", 4, "--temporal-crop", "--epochs", 2)
    call("probe", "--method", "attentive", *arrow, *common)
    sweep = folder / "low.yaml"
    sweep.write_text(
        "methods: {linear: {}}\nvariants: [{train_share: 0.25}, {train_share: 0.5}]\n"
        "seeds: 1\nshared: {epochs: 2}\n"
    )
    call("sweep", sweep, *common)
    call("order", folder / "runs", "--method", "step,linear,first-frame")
    published = folder / "published.csv"
    published.write_text(
        "method,value,params,source,backbone,dataset\n"
        f"{HOSTILE},88.5,2600000,arXiv 2503.24298,dinov2-base,made-up\n"
        "of unknown size,77.5,,arXiv 1,dinov2-base,made-up\n"
        "elsewhere,10,10,nobody,,another data set\n"
    )
    report = write_report(
        folder / "runs",
        folder / "out",
        published=read_published(published),
        frames_of=pictures,
        pdf=False,
    )
    return report, folder


@pytest.fixture(scope="module")
def page(made: tuple[Report, Path]) -> ElementTree.Element:
    """The page, parsed as strictly as a parser can."""
    parser = html5lib.HTMLParser(strict=True)
    text = made[0].page.read_text(encoding="utf-8")
    found: ElementTree.Element = parser.parse(text)
    return found


def words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def test_the_page_is_well_formed_and_ids_are_unique(page: ElementTree.Element) -> None:
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) > 10
    for link in page.iter(f"{HTML}a"):
        assert str(link.get("href")).removeprefix("#") in ids


def test_nothing_is_asked_of_any_network(made: tuple[Report, Path]) -> None:
    text = made[0].page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    for attribute in re.findall(r'(?:src|href)="([^"]{0,30})', text):
        assert attribute.startswith(("data:image/svg+xml;base64,", "#"))
    assert not re.findall(r"@import|url\(", text)


def test_names_from_strangers_stay_names(page: ElementTree.Element) -> None:
    scripts = list(page.iter(f"{HTML}script"))
    assert len(scripts) == 1
    assert "alert" not in words(scripts[0])
    assert sum(HOSTILE in words(cell) for cell in page.iter(f"{HTML}td")) > 1


def test_every_figure_has_a_picture_words_and_files(
    made: tuple[Report, Path], page: ElementTree.Element
) -> None:
    report, folder = made
    figures = list(page.iter(f"{HTML}figure"))
    assert len(figures) == report.figures
    for figure in figures:
        (image,) = figure.iter(f"{HTML}img")
        assert len(str(image.get("alt"))) > 20
        assert words(next(figure.iter(f"{HTML}figcaption")))
    drawn = {path.stem for path in (folder / "out" / "figures").glob("*.svg")}
    assert len(drawn) == report.figures
    for path in (folder / "out" / "figures").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    names = {name.partition("-")[2] for name in drawn}
    wanted = {"pareto", "pairs", "order-tests", "early", "low-data", "confusion", "classes"}
    wanted |= {"calibration", "learning", "attention-over-time", "encodings", "mistake-1"}
    assert wanted <= names


def test_tables_are_the_runs_numbers(made: tuple[Report, Path], page: ElementTree.Element) -> None:
    report, folder = made
    tables = list(page.iter(f"{HTML}table"))
    assert len(tables) == report.tables
    boards = [
        list(csv.reader((folder / "out" / "tables" / name).read_text().splitlines()))
        for name in ("1-leaderboard.csv", "2-leaderboard.csv")
    ]
    methods = {row[0].split(" ")[0] for board in boards for row in board[1:]}
    assert {"linear", "first-frame", "step", "attentive"} <= methods
    assert not [row for board in boards for row in board if "published" in row]
    # Tables of their own, by protocol; the file knows nothing of the tasks of the two studies.
    for number in (1, 2):
        path = folder / "out" / "tables" / f"{number}-published-1.csv"
        header, *rows = csv.reader(path.read_text().splitlines())
        assert header[:3] == ["published method", "top-1", "backbone"]
        assert [row[1] for row in rows] == ["88.5", "77.5"]
    kinds = {row[0]: row[1] for board in boards for row in board[1:]}
    assert kinds["first-frame"] == "control"
    assert kinds["step"] == "sees order"
    assert kinds["attentive"] == "order-blind"
    first = next(iter(tables[0].iter(f"{HTML}tbody")))
    assert len(list(first.iter(f"{HTML}tr"))) == len(boards[0]) - 1


def test_what_is_not_shown_is_said(made: tuple[Report, Path], page: ElementTree.Element) -> None:
    report, _ = made
    assert any("stepcli order" in line for line in report.missing)
    assert all(line in words(page) for line in report.missing)
    assert "elsewhere" not in words(page)


def test_the_page_begins_with_a_verdict_on_each_study(
    made: tuple[Report, Path], page: ElementTree.Element
) -> None:
    text = made[0].page.read_text()
    assert text.index(">Verdict</h2>") < text.index('<section class="study"')
    (glance,) = [each for each in page.iter(f"{HTML}section") if each.get("class") == "glance"]
    lines = [words(line) for line in glance.iter(f"{HTML}li")]
    assert len(lines) == len(gather(made[1] / "runs")) == 2
    assert all("top-1" in line and "%" in line for line in lines)


def test_what_may_be_wider_than_the_page_has_a_hint(page: ElementTree.Element) -> None:
    parents = {child: parent for parent in page.iter() for child in parent}
    wide = [*page.iter(f"{HTML}pre")]
    wide += [e for e in page.iter(f"{HTML}div") if e.get("class") in ("scroll", "paper")]
    assert len(wide) > 10
    for region in wide:
        siblings = list(parents[region])
        hint = siblings[siblings.index(region) - 1]
        assert "hint" in str(hint.get("class"))
        assert "sideways" in words(hint)
    names = [each.get("aria-label") for each in page.iter() if each.get("role") == "region"]
    assert len(names) == len(set(names)) > 10


def test_the_verdict_claims_order_only_over_the_controls(page: ElementTree.Element) -> None:
    text = [words(e) for e in page.iter(f"{HTML}div") if e.get("class") == "verdict"]
    assert any("The best trained control, first-frame" in line for line in text)
    assert any("minus first-frame" in line or "minus linear" in line for line in text)


def test_the_same_runs_give_the_same_figure_on_page_and_paper(
    made: tuple[Report, Path],
) -> None:
    _, folder = made
    for number, study in enumerate(gather(folder / "runs"), 1):
        with styled():
            figure = learning(study)
            assert figure is not None
            kept = folder / "out" / "figures" / f"{number}-learning.svg"
            assert figure.svg == kept.read_bytes()
            assert figure.pdf().startswith(b"%PDF")


def test_the_commands_train_such_runs_again(page: ElementTree.Element) -> None:
    lines = "\n".join("".join(pre.itertext()) for pre in page.iter(f"{HTML}pre")).splitlines()
    (arrow,) = [line for line in lines if "--task arrow" in line]
    assert "--method attentive --task arrow --clip-frames 4 --temporal-crop" in arrow
    assert "  train_share: 0.25" in lines


def test_latex_escapes_what_latex_would_run() -> None:
    table = ReportTable("t", "T", "5 % & more", ("a_b", "n"), ((HOSTILE, "1 | 2"),))
    text = table.latex()
    assert r"5 \% \& more" in text
    assert r"a\_b" in text
    assert r"\_\%\$" in text
    long = ReportTable("t", "T", "c", ("a",), tuple((str(i),) for i in range(20)))
    assert long.long
    assert r"\begin{longtable}" in long.latex()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method,value,params\n", "missing: source"),
        ("method,value,params,source\na,x,1,b\n", "line 2: expected numbers"),
        ("method,value,params,source\na,101,1,b\n", "per cent"),
        ("method,value,params,source\na,50,1,\n", "a source is needed"),
    ],
)
def test_published_numbers_are_checked(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_published(tmp_path / "p.csv")


def test_the_command_runs_order_tests_and_does_without_videos(
    made: tuple[Report, Path], tmp_path: Path
) -> None:
    _, folder = made
    run = next((folder / "runs").glob("step-*"))
    shutil.copytree(run, tmp_path / "runs" / run.name)
    (tmp_path / "runs" / run.name / "order.json").unlink()
    said = call("report", tmp_path / "runs", "--out", tmp_path / "out", "--no-pdf")
    assert "figures" in said
    assert (tmp_path / "runs" / run.name / "order.json").is_file()
    text = (tmp_path / "out" / "index.html").read_text()
    assert "The video is not there any more" in text
    assert not list((tmp_path / "out" / "figures").glob("*.pdf"))


def test_a_store_that_is_gone_is_said(made: tuple[Report, Path], tmp_path: Path) -> None:
    _, folder = made
    (run,) = (folder / "runs").glob("attentive-*")
    shutil.copytree(run, tmp_path / "runs" / run.name)
    nowhere = tmp_path / "nowhere"
    report = write_report(tmp_path / "runs", tmp_path / "out", store=nowhere, pdf=False)
    assert any("no feature store" in line for line in report.missing)
