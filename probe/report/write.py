"""`stepcli report`: from a folder of runs to one page, and files of each figure and table."""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from numpy.typing import NDArray

from stepcli.probe.analysis.order_suite import order_suites
from stepcli.probe.data.order_maps import order_map
from stepcli.probe.report import (
    accuracy_figures,
    class_figures,
    order_figures,
    recording_strips,
    tables,
)
from stepcli.probe.report import text as words
from stepcli.probe.report.across_section import AcrossSection, across_sections
from stepcli.probe.report.attention_maps import (
    CONFIDENT,
    FramesOf,
    Looker,
    confident_mistakes,
)
from stepcli.probe.report.commands import commands
from stepcli.probe.report.frame_strips import over_time, strip_figure
from stepcli.probe.report.order_suite_section import SuiteSection
from stepcli.probe.report.protocol import protocol, versions
from stepcli.probe.report.report_data import Study, gather
from stepcli.probe.report.style import Figure, styled
from stepcli.probe.report.tables import ReportTable
from stepcli.probe.runs.configurations import without_several
from stepcli.probe.runs.leakage import leakage_notes
from stepcli.probe.runs.pairs import Pairs
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.published import Published
from stepcli.runtime.errors import StoreError, UsageError
from stepcli.runtime.files import disk_errors, replace_synced
from stepcli.runtime.terminal import shown

PAGE = "index.html"
MISTAKES = 4
ENCODINGS = 3
NUMBER = re.compile(r"[+-]?[\d,]+(\.\d+)?( to [\d.]+)?|-")


@dataclass(frozen=True)
class Shown:
    """A figure as the page holds it: a picture within the page, apart from all others' names."""

    name: str
    title: str
    caption: str
    alt: str
    svg: bytes

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"


@dataclass(frozen=True)
class Report:
    """What was written."""

    page: Path
    figures: int
    tables: int
    missing: tuple[str, ...]
    """What could not be shown, and why."""


def write_report(
    runs: Path,
    out: Path,
    *,
    store: Path | None = None,
    pairs: Pairs | None = None,
    published: Sequence[Published] = (),
    frames_of: FramesOf | None = None,
    pdf: bool = True,
) -> Report:
    """Write <out>/index.html and each figure and table of it beside it.

    Args:
        runs: Folder of the runs.
        out: Folder of the report; files of an earlier report are replaced.
        store: Where the runs' store is now; None: where it was.
        pairs: Nearly symmetric classes in place of the runs' own.
        published: Numbers from papers.
        frames_of: Reads the frames of a stored clip from its video; None: no pictures of frames.
        pdf: Write figures as PDF too.

    Raises:
        UsageError: there is no run, or one cannot be read.
    """
    studies = gather(runs, pairs)
    missing = without_several(runs)
    shown: list[dict[str, Any]] = []
    figures = tables_ = 0
    together: list[tuple[str, int, AcrossSection | SuiteSection]] = [
        *((f"across-{n}", n, each) for n, each in enumerate(across_sections(runs), 1)),
        *((f"order-suite-{n}", n, SuiteSection(s)) for n, s in enumerate(order_suites(runs), 1)),
    ]
    for anchor, number, section in together:
        with styled():
            several = list[Figure | ReportTable](section.parts())
            with disk_errors(out):
                for part in several:
                    _write_part(out, f"{number}-" if number > 1 else "", part, pdf=pdf)
        figures += sum(isinstance(part, Figure) for part in several)
        tables_ += sum(isinstance(part, ReportTable) for part in several)
        shown.append({"anchor": anchor, "parts": [_shown(p) for p in several]} | section.words())
    for number, study in enumerate(studies, 1):
        fitting = [p for p in published if p.dataset in ("", study.first.dataset)]
        with styled():
            parts = list(_parts(study, fitting, store, frames_of, missing))
            prefix = f"{number}-" if len(studies) > 1 else ""
            with disk_errors(out):
                for part in parts:
                    _write_part(out, prefix, part, pdf=pdf)
        figures += sum(isinstance(part, Figure) for part in parts)
        tables_ += sum(isinstance(part, ReportTable) for part in parts)
        shown.append(
            {
                "anchor": f"study-{number}",
                "title": study.title,
                "headline": words.headline(study),
                "verdict": words.verdict(study),
                "warnings": _warnings(study),
                "parts": [_shown(part) for part in parts],
                "protocol": protocol(study),
                "versions": versions(study),
                "commands": commands(study),
            }
        )
    for each in shown if len(shown) > 1 else ():
        each["told"] = f", {each['title']}"  # regions of a page have names of their own
    page = out / PAGE
    text = render(
        title="What the probes say: " + ", ".join(sorted({s.first.dataset for s in studies})),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        runs=sum(len(e.found.records) for s in studies for e in s.entries),
        folder=str(runs),
        studies=shown,
        missing=list(dict.fromkeys(missing)),
    )
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        replace_synced(page, text.encode())
    return Report(page, figures, tables_, tuple(dict.fromkeys(missing)))


def render(**content: Any) -> str:
    """The page; names of classes, clips and methods are not trusted and are escaped."""
    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        # Marked-up texts are ours; what reorders or hides text is shown in all others.
        finalize=lambda value: shown(value, keep="\n\t") if type(value) is str else value,
    )
    environment.tests["number_like"] = lambda cell: NUMBER.fullmatch(cell) is not None
    folder = files("stepcli.probe.report") / "templates"
    template = environment.from_string((folder / "report.html").read_text(encoding="utf-8"))
    # The page's own style and script, not data.
    own = {
        "style": Markup((folder / "style.css").read_text(encoding="utf-8")),
        "script": Markup((folder / "tables.js").read_text(encoding="utf-8")),
    }
    return template.render(**content, **own)


def _shown(part: Figure | ReportTable) -> Shown | ReportTable:
    if isinstance(part, ReportTable):
        return part
    return Shown(part.name, part.title, part.caption, part.alt, part.svg)


def _warnings(study: Study) -> list[str]:
    warned = [w for entry in study.entries for w in entry.analysis.warnings]
    records = [record for entry in study.entries for record in entry.found.records]
    return list(dict.fromkeys([*warned, *leakage_notes(records, tables.WITHOUT_COPIES)]))


def _write_part(out: Path, prefix: str, part: Figure | ReportTable, *, pdf: bool) -> None:
    if isinstance(part, Figure):
        contents = {"figures": {"svg": part.svg} | ({"pdf": part.pdf()} if pdf else {})}
    else:
        contents = {"tables": {"tex": part.latex().encode(), "csv": part.csv().encode()}}
    for folder, forms in contents.items():
        (out / folder).mkdir(parents=True, exist_ok=True)
        for form, content in forms.items():
            replace_synced(out / folder / f"{prefix}{part.name}.{form}", content)


def _parts(
    study: Study,
    published: Sequence[Published],
    store: Path | None,
    frames_of: FramesOf | None,
    missing: list[str],
) -> Iterator[Figure | ReportTable]:
    """Figures and tables of a study in the order of the page."""
    dense = recording_strips.dense_scores(study)
    if study.first.task == "dense" and not dense:
        missing.append(f"{study.title}: frames of recordings; run stepcli dense first")
    drawn: list[Figure | ReportTable | None] = [
        tables.leaderboard(study),
        recording_strips.measures(dense),
        recording_strips.strips(dense),
        recording_strips.by_class(dense),
        *tables.published_numbers(published),
        accuracy_figures.pareto(study, [p for p in published if p.is_beside(study.first.task)]),
        accuracy_figures.dumbbells(study),
        order_figures.order_tests(study),
        order_figures.early(study),
        accuracy_figures.fractions(study),
        class_figures.confusions(study),
        class_figures.class_bars(study),
        order_figures.calibration(study),
        order_figures.learning(study),
    ]
    yield from (part for part in drawn if part is not None)
    if not any(entry.tests for entry in study.entries):
        missing.append(f"{study.title}: order tests; run stepcli order first")
    yield from _looks(study, store, frames_of, missing)
    last = (
        *(tables.values_by_group(study), tables.pair_table(study), tables.group_table(study)),
        *(tables.class_table(study), tables.order_table(study)),
    )
    yield from (table for table in last if table is not None)


def _looks(
    study: Study, store: Path | None, frames_of: FramesOf | None, missing: list[str]
) -> Iterator[Figure]:
    """What the strongest probe that has attention looks at."""
    if order_map(study.first.task) is not None:
        missing.append(f"{study.title}: attention, because the task arranges frames of its own")
        return
    similar: dict[str, NDArray[np.float64]] = {}
    attended = False
    for entry in reversed(study.of_kind("sees order", "order-blind")):
        if len(similar) == ENCODINGS and attended:
            break
        try:
            looker = Looker(entry, store)
        except (StoreError, UsageError) as error:
            missing.append(f"{study.title}: what {entry.label} looks at: {error}")
            continue
        if (matrix := looker.similarity()) is not None and len(similar) < ENCODINGS:
            similar[entry.label] = matrix
        if attended:
            continue
        said = read_predictions(entry.found.runs / entry.found.first.run)
        try:
            forward, backward = looker.over_time()
        except UsageError:
            continue  # it has no query; the next one may
        attended = True
        yield over_time(entry.label, forward, backward)
        mistakes = confident_mistakes(said, MISTAKES)
        if not mistakes:
            missing.append(
                f"{study.title}: confident mistakes of {entry.label}: no wrong answer has a "
                f"probability of {100 * CONFIDENT:.0f} % or more"
            )
        for number, row in enumerate(mistakes, 1):
            strip = looker.strip(said, row, frames_of)
            if strip.absent:
                missing.append(f"{study.title}: frames of {strip.clip}: {strip.absent}")
            yield strip_figure(strip, f"mistake-{number}", f"Confident mistake of {entry.label}")
    if (figure := order_figures.encodings(study, similar)) is not None:
        yield figure
