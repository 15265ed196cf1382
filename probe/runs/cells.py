"""Cells of tables that people open: text that does not act as a formula, as LaTeX or as Markdown.

Names of classes, runs, methods and tasks may come from anybody.
"""

import re
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


def latex(text: str) -> str:
    """A text that LaTeX typesets as it stands."""
    return shown(text).translate(_LATEX)


def markdown(text: str) -> str:
    """A text that stays in its cell, and is no HTML."""
    return shown(text).translate(_MARKDOWN)


def figure_text(text: str) -> str:
    """A text that matplotlib draws as it stands: a $ begins no formula."""
    return shown(text, keep="\n").replace("$", r"\$")
