"""Texts for readers are in plain technical English: phrases of our former dialect are not used.

Each rule is a regular expression over a file whose line breaks are read as spaces, and the wording
to use in its place.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
UNITS = (
    "frames?|clips?|runs?|tokens?|probes?|bytes|[KMG]i?B|seconds?|samples?|lines?|parts?|steps?|epochs?|videos?|files?"
    "|values?|times|methods?|classes|cores?|processes|workers?|ids?|rows?|points?|requests?|layers?"
    "|heads?|views?|seeds?|hours?|minutes?|ms|figures?|columns?|chunks?|flips|crops?|answers?"
)
RATES = (
    "second|minute|hour|day|clip|frame|run|token|probe|video|class|worker|GPU|node|core|seed|method"
    "|step|line|epoch|store|task|batch|split|group|row|file|data set|machine|pass|page|layer|head"
    "|member|sample|forward|option|label|process|folder|model|backbone|subject|setting|bank|thread"
    "|recording|sweep"
)
RULES = {
    "rate": (
        rf"\b(?:{UNITS}|one|once each|(?:one|a) \w+) an? (?:{RATES})\b(?! (?:time|that|of)\b)",
        "frames per clip",
    ),
    "has not": (r"\b(?:has|have|had) not[,.;:)]", "which ... does not have; not in ..."),
    "stands twice": (r"\bstands? (?:there )?twice\b|\bstands? there\b", "appears twice; is in ..."),
    "meant was": (r"\b(?:meant|asked|wanted|given|expected) was\b", "expected Y, found X"),
    "had": (r"\b(?:can(?:not)?|could(?: not)?|to) be had\b", "is (not) available"),
    "put aside": (r"\b(?:puts?|putting|been put) aside\b", "quarantined; processed"),
    "so many": (r"\bso (?:many|much)\b(?! (?:as|that)\b)", "maximum number of ...; that many"),
    "whoever": (r"\bwhoever\b", "the process that ...; users who ..."),
    "nobody": (
        r"\bnobody (?:has |had |who )?(?:said|says|taught|asked|asks|looks|watches|wrote|knows)\b",
        "if not given; unsupported",
    ),
    "mend": (r"\bmend(?:s|ed|ing)?\b", "repair, fix"),
    "0: off": (r"[;(,] 0: (?:all|off|never|none|no|without)\b", "(0 = no limit), (0 = off)"),
    "longest gradient": (r"\blongest gradient", "maximum gradient norm"),
    "go over": (r"\b(?:goes?|flags go) over (?:it|the file)\b", "override"),
    "held against": (r"\bh[eo]lds? (?:\w+ )?against\b|\bheld against\b", "checked against"),
    "keep their word": (r"\bkeeps? (?:its|their) word\b", "is calibrated"),
    "taken for": (r"\btaken for\b", "interpreted as; confused with"),
    "uncalibrated": (r"\bas trained\)|\bnumbers leave\b", "(uncalibrated)"),
    "for good": (r"\b(?:gone|lost|out of use|kept) for good\b", "permanently"),
    "stranger": (r"\bstrangers?\b", "untrusted; third-party"),
    "vouched": (r"\bvouch(?:ed|es|ing)?\b", "trusted"),
    "said": (r"\b(?:is|are|was|were) said\b|\b(?:says?|said) so\b", "is reported; a note says ..."),
    "go on": (
        r"\bgone on with\b|\bsame commands? (?:goes|go|went) on\b|\bstopping and going on\b",
        "resume, continue",
    ),
    "tear apart": (r"\b(?:tears?|tore|tearing) (?:\w+ ){0,2}apart\b|\btorn apart\b", "divide"),
    "memory ends": (r"\bmemory (?:ends|ended)\b", "memory runs out"),
    "goes on": (
        r"\b(?:goes|gone) on\b",
        "continues; resumes",
    ),
    "as it stands": (r"\bas (?:it|they) stands?\b|\bwhat stands\b", "unchanged; the current ..."),
    "lies there": (r"\b(?:what|that) lies\b|\blies? there\b", "is there; is stored in ..."),
    "what becomes of": (r"\bbecomes of\b", "what happens to; what it turns into"),
    "on the table": (r"\bwhat (?:it|they) (?:is|are) taken\b", "confusion with"),
}
"""Name: (what is not written, what is written instead)."""
FOUND = {name: re.compile(pattern, re.IGNORECASE) for name, (pattern, _) in RULES.items()}

KINDS = {".py", ".md", ".yaml", ".yml", ".html", ".js", ".toml", ".sbatch"}
ROOMS = (
    "apply",
    "benchmarks",
    "cache",
    "docs",
    "examples",
    "extract",
    "probe",
    "runtime",
    "tests",
    ".github",
)
EXEMPT = (
    "benchmarks/results",  # outputs as they were printed
    "docs/maintainers/transcript.md",  # what the commands printed
    "tests/compat",  # files as earlier versions wrote them
    "tests/docs/test_language.py",
)
# Line breaks with what stands around them in comments, lists, quotes and adjacent literals.
BREAK = re.compile(r"[ \t]*(?:\"|')?[ \t]*\n[ \t]*(?:# ?|> ?|f?\"(?!\"\")|f?'(?!''))?")


def below(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def covered() -> list[str]:
    """The files of the tree that the rules are for, relative to it."""
    top = [path for path in TREE.iterdir() if path.is_file() and path.suffix in KINDS]
    files = [path for room in ROOMS for path in (TREE / room).rglob("*") if path.suffix in KINDS]
    names = sorted(path.relative_to(TREE).as_posix() for path in (*top, *files))
    return [name for name in names if not below(name, EXEMPT)]


def phrases(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, rule and words of each phrase that is not to be written."""
    breaks = list(BREAK.finditer(text))
    # As long as the text, so that an offset tells its line.
    joined, end = [], 0
    for each in breaks:
        joined += [text[end : each.start()], " ", "\0" * (len(each[0]) - 1)]
        end = each.end()
    flat = "".join([*joined, text[end:]])
    at = [offset for offset, character in enumerate(flat) if character != "\0"]
    words = flat.replace("\0", "")
    for name, pattern in FOUND.items():
        for found in pattern.finditer(words):
            yield text.count("\n", 0, at[found.start()]) + 1, name, found[0]


def test_the_texts_are_in_plain_english() -> None:
    problems = [
        f"{name}:{line}: {words!r} ({rule}): write: {RULES[rule][1]}"
        for name in covered()
        for line, rule, words in phrases((TREE / name).read_text())
    ]
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("reads 16 frames a clip", "rate"),
        ("done at 43 clips\na second", "rate"),
        ('    "reads 16 frames a "\n    "clip"', "rate"),
        ("# the column that a table\n# has not.", "has not"),
        ("the id stands there twice", "stands twice"),
        ("holds zarr, meant was hdf5", "meant was"),
        ("the model cannot be had", "had"),
        ("40 stored or put aside", "put aside"),
        ("At most so many lines", "so many"),
        ("Whoever is told of each clip", "whoever"),
        ("empty where nobody has said", "nobody"),
        ("after mending the files", "mend"),
        ("Most lines; 0: all", "0: off"),
        ("flags go over it", "go over"),
        ("ONNX held against PyTorch", "held against"),
        ("on the dashed line they keep their word", "keep their word"),
        ("what the classes are taken for", "taken for"),
        ("the file is gone for good", "for good"),
        ("a stranger's run", "stranger"),
        ("code that was vouched for", "vouched"),
        ("a killed sweep goes on", "goes on"),
        ("the order in which they stand; drawn as they stand", "as it stands"),
        ("bytes that lie there", "lies there"),
        ("what becomes of a class", "what becomes of"),
    ],
)
def test_a_rule_finds_its_phrase(text: str, rule: str) -> None:
    assert rule in {name for _, name, _ in phrases(text)}


@pytest.mark.parametrize(
    "text",
    [
        "16 frames per clip, 43 clips per second",
        "The file runs a second time.",
        "tokens that do not exist",
        "as many as there are; so many that it overflows",
        "The step stands for one batch.",
    ],
)
def test_plain_english_passes(text: str) -> None:
    assert not list(phrases(text))


def test_a_phrase_is_told_with_its_line() -> None:
    text = "One.\n\nTwo is\nsaid here.\nIt is mended."
    assert sorted(line for line, *_ in phrases(text)) == [3, 5]
