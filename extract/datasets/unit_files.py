"""Semantic units: words for what actions are made of, one file per data set, in units/<name>.txt.

A file has two parts. The first is made from the labels by `words_of`: every word of a label that
says something, once, in the order of the labels. The second, below BY_HAND, was written and checked
by hand: body parts, objects, scenes, motions. To make the first part anew and keep the second:

    python -m stepcli.extract.datasets.unit_files units/ssv2.txt LABELS

where LABELS holds one label per line. A user's own file goes to `extract --units`.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from stepcli.runtime.errors import UsageError

BY_HAND = "# By hand"
FOLDER = Path(__file__).parent / "units"

_WORDS = (
    "a an and are as at away back be behind but by down each for from front happens has in inside "
    "into is it its just like next not nothing of off on one onto or other out over own person "
    "pretending some someone something sometimes somewhere so than that the them then there they "
    "thing this through to together too towards trying two under until up using very was what "
    "while with without you your actually doesn doesnt being does do doing having because enough "
    "almost else cannot already cant where number many little bit similar things along across part "
    "both slightly completely quickly fit stays comes gets non used end ends continues"
)
_UNSAID = frozenset(_WORDS.split())
"""Words that name no unit: articles, prepositions, adverbs, placeholders, what a label pretends."""


def words_of(labels: Iterable[str]) -> list[str]:
    """The words of labels that say something, in lower case, each once, in order.

    A label's words are what is left when capitals inside a word, digits, underscores and signs
    divide it; words of fewer than three letters and those of `_UNSAID` are left out.
    """
    found: dict[str, None] = {}
    for label in labels:
        divided = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
        for word in re.findall(r"[a-z]+", divided.replace("'", "").lower()):
            if len(word) > 2 and word not in _UNSAID:
                found.setdefault(word)
    return list(found)


def unit_file(dataset: str) -> Path | None:
    """The file of a data set's units that comes with the package, if one does."""
    path = FOLDER / f"{dataset}.txt"
    return path if path.is_file() else None


def units_of(dataset: str, own: Path | None) -> list[str]:
    """The semantic units to embed: a user's own file, else the data set's; none where neither is.

    Raises:
        UsageError: the file cannot be read or holds no unit.
    """
    path = own or unit_file(dataset)
    # The part entered by hand may also hold a word of a label.
    return [] if path is None else list(dict.fromkeys(read_texts(path, "--units")))


def read_texts(file: Path, purpose: str) -> list[str]:
    """The lines of a text file; empty ones and those that begin with # are left out."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{purpose}: {file} cannot be read ({error})") from error
    texts = [line for line in lines if line and not line.startswith("#")]
    if not texts:
        raise UsageError(f"{purpose}: {file} holds no text")
    return texts


def renew(path: Path, labels: Iterable[str]) -> None:
    """Write the labels' words into a file of units; what is below BY_HAND stays."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    _, marker, by_hand = before.partition(BY_HAND)
    head = f"# Semantic units of {path.stem}, one per line; see unit_files.py.\n# From the labels\n"
    words = "".join(f"{word}\n" for word in words_of(labels))
    path.write_text(f"{head}{words}{marker}{by_hand}", encoding="utf-8")


if __name__ == "__main__":
    renew(Path(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8").splitlines())
