"""Cells of tables that people open: text that does not act as a formula, as LaTeX or as Markdown.

Names of classes, runs, methods and tasks may come from anybody.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from stepcli.runtime.terminal import shown

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?(\d[\d,]*)?\.?\d+([eE][+-]?\d+)?( ?%)?")
"""Also with separators of thousands, an exponent, or a per cent sign."""
_JOINED = re.compile(r" ?(?:±|to|–|\.\.\.) ?")
"""Between the two numbers of an interval or a deviation."""

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "_": r"\_",
        "%": r"\%",
        "&": r"\&",
        "#": r"\#",
        "$": r"\$",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "<": r"$<$",
        ">": r"$>$",
        "|": r"$|$",
        "…": r"\ldots{}",
        # At the beginning of a row these would belong to the \\ of the row before.
        "[": "{[}",
        "]": "{]}",
        "*": "{*}",
        # Ligatures of two of these are other characters.
        "`": r"\textasciigrave{}",
        '"': r"\textquotedbl{}",
    }
)
_MARKDOWN = str.maketrans({"|": r"\|", "<": "&lt;", "`": "'", "\\": "\\\\"})


def csv_cell(value: Any) -> Any:
    """A cell of a CSV file for people: a text that a spreadsheet would compute is quoted by '.

    Numbers stay numbers, negative ones too; control characters are shown as their escapes.
    """
    if not isinstance(value, str):
        return value
    text = shown(value)
    if not value.startswith(_FORMULA) or text == "-":
        return text
    if all(_NUMBER.fullmatch(part) for part in _JOINED.split(text)):
        return text
    return f"'{text}"


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows, the header among them, as CSV without a newline at its end; cells by `csv_cell`."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(map(csv_cell, row) for row in rows)
    return out.getvalue().removesuffix("\n")


def latex(text: str) -> str:
    """A text that LaTeX typesets literally."""
    return shown(text).translate(_LATEX)


class Bold(str):
    """A cell that LaTeX sets in bold."""

    __slots__ = ()


def latex_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", long: bool = False
) -> str:
    """Cells with booktabs rules; the first column holds names, the others numbers.

    Args:
        header: of the columns.
        rows: bold cells are `Bold`.
        caption: makes the tabular a table of its own.
        long: whether the table may break over pages; it needs the package longtable.
    """
    head, *lines = [" & ".join(map(_latex_cell, row)) + r" \\" for row in (header, *rows)]
    body = [r"\toprule", head, r"\midrule", *lines, r"\bottomrule"]
    said = rf"\caption{{{latex(caption)}}}"
    if long:
        body = [said + r" \\", *body[:3], r"\endhead", *body[3:]]
    kind = "longtable" if long else "tabular"
    columns = "l" + "r" * (len(header) - 1)
    table = [rf"\begin{{{kind}}}{{{columns}}}", *body, rf"\end{{{kind}}}"]
    if caption and not long:
        table = [r"\begin{table}", r"\centering", said, *table, r"\end{table}"]
    return "\n".join(table)


def _latex_cell(cell: str) -> str:
    return rf"\textbf{{{latex(cell)}}}" if isinstance(cell, Bold) else latex(cell)


def markdown(text: str) -> str:
    """A text that stays in its cell, and is no HTML."""
    return shown(text).translate(_MARKDOWN)


def figure_text(text: str) -> str:
    """A text that matplotlib draws literally: a $ begins no formula."""
    return shown(text, keep="\n").replace("$", r"\$")
