"""Tables of the report: one content for the page, LaTeX and CSV."""

from collections.abc import Sequence
from dataclasses import dataclass

from stepcli.probe.analysis.order_table import mean_of
from stepcli.probe.analysis.order_tests import NORMAL, ORDERS
from stepcli.probe.report.report_data import ReportEntry, Study
from stepcli.probe.runs.cells import csv_text, latex_table
from stepcli.probe.runs.leakage import mean_without_copies
from stepcli.probe.runs.published import CERTAINTY, Published, by_protocol, rows_of
from stepcli.probe.runs.stats import FEWEST_GROUPS
from stepcli.runtime.terminal import shown
from stepcli.runtime.words import counted


@dataclass(frozen=True)
class ReportTable:
    """Rows of text; a column of numbers sorts as numbers."""

    name: str
    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        # Page, LaTeX and CSV alike: names of classes, groups and runs may come from anybody.
        rows = tuple(tuple(shown(str(cell)) for cell in row) for row in self.rows)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "header", tuple(map(shown, self.header)))
        for name in ("title", "caption"):
            object.__setattr__(self, name, shown(getattr(self, name)))

    @property
    def long(self) -> bool:
        """Whether a reader wants to search it."""
        return len(self.rows) > 12

    def csv(self) -> str:
        """With a header line."""
        return csv_text([self.header, *self.rows]) + "\n"

    def latex(self) -> str:
        """A table with booktabs rules, ready for \\input; long ones are longtables."""
        table = latex_table(self.header, self.rows, caption=self.caption, long=self.long)
        return f"{table}\n"


def percent(value: float | None) -> str:
    """A fraction of 1 as per cent with one digit."""
    return "-" if value is None else f"{100 * value:.1f}"


WITHOUT_COPIES = "top-1 without copies"
"""Column of a leaderboard in which some test clips are copies of training clips."""


def leaderboard(study: Study) -> ReportTable:
    """One row a configuration, the strongest first."""
    rows: list[tuple[str, ...]] = [
        (
            entry.label,
            entry.kind,
            percent(entry.analysis.top1.mean),
            _interval(entry),
            percent(entry.analysis.mean_class),
            percent(None if (o := entry.analysis.overall) is None else o.macro_forced_choice),
            percent(entry.analysis.calibration.before.ece),
            f"{entry.analysis.params:,}",
            str(entry.analysis.seeds),
        )
        for entry in reversed(study.entries)
    ]
    header: tuple[str, ...] = (
        *("method", "kind", "top-1", "95 %", "mean class", "forced choice", "ECE", "parameters"),
    )
    clean = [mean_without_copies(entry.found.records) for entry in reversed(study.entries)]
    if any(top1 is not None for top1 in clean):
        cells = [*map(percent, clean)]
        rows = [(*row[:3], cell, *row[3:]) for row, cell in zip(rows, cells, strict=True)]
        header = (*header[:3], WITHOUT_COPIES, *header[3:])
    return ReportTable(
        "leaderboard",
        "Leaderboard",
        f"{study.title}: per cent of {study.first.samples} test samples, mean over seeds. "
        f"{_about_intervals(study)}",
        (*header, "seeds"),
        tuple(rows),
    )


def published_numbers(published: Sequence[Published]) -> list[ReportTable]:
    """Other people's numbers, one table per protocol: values of two are not comparable."""
    known = "; ".join(f"{word}: {meaning}" for word, meaning in CERTAINTY.items())
    tables = []
    for number, (protocol, rows) in enumerate(by_protocol(published).items(), 1):
        header, cells = rows_of(rows)
        tables.append(
            ReportTable(
                f"published-{number}",
                f"Published: {protocol}",
                f"Per cent, as the sources report them; not measured here. Certainty: {known}.",
                tuple(header),
                tuple(map(tuple, cells)),
            )
        )
    return tables


def _about_intervals(study: Study) -> str:
    groups = study.first.top1.groups
    if groups < FEWEST_GROUPS:
        are = "is" if groups == 1 else "are"
        return (
            f"No intervals: {counted(groups, 'group')} of clips {are} fewer than {FEWEST_GROUPS}; "
            "each group's value is in the table by group."
        )
    seeds = " and the seeds" if any(e.analysis.seeds > 1 for e in study.entries) else ""
    return f"95 %: interval of top-1 over {groups} groups of clips{seeds}."


def _interval(entry: ReportEntry) -> str:
    top1 = entry.analysis.top1
    if top1.low is None or top1.high is None:
        return "-"
    return f"{100 * top1.low:.1f} to {100 * top1.high:.1f}"


def values_by_group(study: Study) -> ReportTable | None:
    """Top-1 of each group of clips, where they are too few for intervals; else None."""
    names = list(study.first.top1.by_group)
    if not names:
        return None
    return ReportTable(
        "by-group",
        "By group of clips",
        f"Top-1 of each group of clips, per cent, mean over seeds. With fewer than {FEWEST_GROUPS} "
        "groups no interval is given.",
        ("method", *names),
        tuple(
            (entry.label, *(percent(entry.analysis.top1.by_group.get(name)) for name in names))
            for entry in reversed(study.entries)
        ),
    )


def pair_table(study: Study) -> ReportTable | None:
    """Every pair of every configuration."""
    rows = [
        (
            entry.label,
            f"{row.a} / {row.b}",
            str(row.samples),
            percent(row.forced_choice),
            f"{row.auc:.3f}",
            percent(row.recall_a),
            percent(row.recall_b),
            percent(row.accuracy_either),
        )
        for entry in reversed(study.entries)
        for row in entry.analysis.pairs
    ]
    if not rows:
        return None
    return ReportTable(
        "pairs",
        "All pairs",
        "Forced choice: of the two logits the larger decides, over all samples of the pair. "
        "Either: accuracy where one of the two was predicted. Per cent.",
        ("method", "pair", "n", "forced choice", "AUC", "recall 1", "recall 2", "either"),
        tuple(rows),
    )


def group_table(study: Study) -> ReportTable | None:
    """Classes with a partner against the others; in the arrow task the types of classes."""
    if study.first.types:
        return ReportTable(
            "class-types",
            "By type of class",
            "Equivariant classes take their partner's label when played backward, invariant ones "
            "keep their own; irreversible ones are left out of the task. Turned: answers to the "
            "backward clip that are what the type makes of the forward answer. Per cent.",
            ("method", "type", "classes", "n", "top-1", "forward", "backward", "turned"),
            tuple(
                (
                    *(entry.label, row.type, str(row.classes), str(row.samples)),
                    *(percent(v) for v in (row.top1, row.forward, row.backward, row.turns)),
                )
                for entry in reversed(study.entries)
                for row in entry.analysis.types
            ),
        )
    if study.first.symmetric is None or study.first.other is None:
        return None
    return ReportTable(
        "class-groups",
        "Classes with a partner, and without",
        "Top-1 and mean recall where all classes compete, over the classes that have a nearly "
        "symmetric partner and over those that have none. Per cent.",
        ("method", "classes", "of them", "n", "top-1", "mean class"),
        tuple(
            (
                *(entry.label, name, str(group.classes), str(group.samples)),
                *(percent(group.top1), percent(group.mean_class)),
            )
            for entry in reversed(study.entries)
            for name, group in (
                *(("with a partner", entry.analysis.symmetric),),
                *(("without", entry.analysis.other),),
            )
            if group is not None
        ),
    )


def class_table(study: Study) -> ReportTable:
    """Recall and commonest error of each class, by the strongest entry."""
    entry = study.best("sees order", "imported") or study.entries[-1]
    return ReportTable(
        "classes",
        f"Classes, by {entry.label}",
        f"{entry.label}: recall of each class and its most frequent confusion, per cent.",
        ("class", "n", "recall", "confused with", "of the class", "partner"),
        tuple(
            (
                row.name,
                str(row.samples),
                percent(row.recall),
                row.most_confused or "nothing",
                percent(row.confused_share),
                row.partner or "-",
            )
            for row in sorted(entry.analysis.classes, key=lambda row: row.recall)
        ),
    )


def order_table(study: Study) -> ReportTable | None:
    """Top-1 in each order, and what goes over to the partner when played backward."""
    entries = [entry for entry in reversed(study.entries) if entry.tests]
    if not entries:
        return None
    return ReportTable(
        "order",
        "Order tests",
        "Top-1 with the stored test frames shown in another order, per cent; to partner: of the "
        "right answers those that go to the partner when the clip is played backward.",
        ("method", NORMAL, *ORDERS, "to partner"),
        tuple(
            (
                entry.label,
                *(percent(mean_of(entry.tests, name, "top1")) for name in (NORMAL, *ORDERS)),
                percent(mean_of(entry.tests, "reversed", "flips")),
            )
            for entry in entries
        ),
    )
