"""Every command, link and message in the guides is one that there is."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from stepcli.cli import app
from stepcli.examples.demo import CONTROLS, ORDER_BLIND
from stepcli.extract.datasets.registry import DATASETS
from stepcli.probe.methods.registry import methods as registry
from stepcli.runtime.command_lines import COMMAND_LINES

TREE = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *(TREE / name for name in ("README.md", "CONTRIBUTING.md")),
        *TREE.glob("docs/**/*.md"),
        *TREE.glob(".github/**/*.md"),
    ]
)
WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
NUMBERS = {word: value for value, word in enumerate(re.findall(r"\w+", WORDS), start=1)}
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHELL = {"", "sh", "bash", "console"}
END = {"|", ">", "&&", ";"}
UsageProblem: Any = typer.BadParameter.__base__  # of click, or of typer's own copy of it
INCOMPLETE = {"MissingParameter", "BadOptionUsage"}
COMMANDS: Any = typer.main.get_command(app)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


COUNTED = re.compile(rf"\b(\d+|{'|'.join(NUMBERS)}) (methods|recipes|data sets)\b", re.IGNORECASE)


@pytest.fixture(autouse=True)
def folder_with_the_guides_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing `extract --config run.yaml` reads the file."""
    (tmp_path / "run.yaml").write_text("dataset: ssv2")
    monkeypatch.chdir(tmp_path)


def commands_of(block: str) -> Iterator[str]:
    """The lines of a shell block as typed: prompts gone, continued lines joined."""
    for line in block.replace("\\\n", " ").splitlines():
        words = re.sub(r"\s#.*", "", line).removeprefix("$ ").strip()
        if words and words[0] != "#":
            yield words


def stepcli_words(line: str) -> Iterator[list[str]]:
    """What follows each `stepcli` of a line, up to the shell's next operator."""
    # What SLURM's scripts pass on is an extraction's options.
    line = re.sub(r"^.*(extract\.sbatch|submit\.py.* --) (?=--)", "stepcli extract ", line)
    line = re.sub(r"^.*sweep\.sbatch ", "stepcli sweep ", line)
    words = shlex.split(line) if "stepcli" in line else []
    while "stepcli" in words:
        words = words[words.index("stepcli") + 1 :]
        end = next((at for at, word in enumerate(words) if word in END), len(words))
        given = zip(["", *words], words[:end], strict=False)
        kept = [word for before, word in given if word != "..." or before.startswith("--")]
        yield [re.sub(r"^(\w+)\|.*", r"\1", word) for word in kept]


def parse(words: list[str]) -> None:
    """Let the command line parse the words, and do nothing."""
    if words and words[0].endswith("-completion"):  # parsing it would install it
        assert any(words[0] in each.opts for each in COMMANDS.params), words
        return
    for table in (Path(word) for word in words if re.fullmatch(r"[^-/].*\.(csv|parquet)", word)):
        # The reader's own; some commands look whether they are there.
        table.parent.mkdir(parents=True, exist_ok=True)
        table.touch()
    command, context, name = COMMANDS, None, "stepcli"
    while True:
        context = command.make_context(name, list(words), parent=context)
        rest = [*context._protected_args, *context.args]
        if not hasattr(command, "resolve_command") or not rest:
            return
        name, command, words = command.resolve_command(context, rest)


@every_page
def test_every_command_of_a_page_is_there(page: Path) -> None:
    text = page.read_text()
    typed = [
        line
        for language, block in FENCE.findall(text)
        if language in SHELL
        for line in commands_of(block)
    ]
    named = re.findall(r"`((?:stepcli|make) [^`\n]+)`", FENCE.sub("", text))
    extras = tomllib.loads((TREE / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    targets = (TREE / "Makefile").read_text()
    for line in [*typed, *named]:
        for words in stepcli_words(line):
            try:
                parse(words)
            except typer.Exit:  # --version and its like have done all there is to do
                continue
            except UsageProblem as error:
                # In a sentence a command may stand by its name, or end with a flag.
                if line not in named or type(error).__name__ not in INCOMPLETE:
                    pytest.fail(f"{page.name}: `{line}`: {type(error).__name__}: {error}")
        for extra in re.findall(r"pip install '(?:stepcli|\.|\./stepcli)\[([\w,]+)\]'", line):
            assert set(extra.split(",")) <= extras.keys(), line
        for target in re.findall(r"^make ([a-z-]+)", line):
            assert f"\n{target}:" in targets, f"{page.name}: no such target: {line}"
        for script in re.findall(r"^python3? ([\w/]+\.py)", line):
            assert (TREE / script).is_file(), f"{page.name}: no such file: {line}"


def leaves(group: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words after `stepcli`."""
    for name, command in group.commands.items():
        path = f"{place} {name}".strip()
        if hasattr(command, "commands"):
            yield from leaves(command, path)
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield path, command


def test_every_command_has_help_and_a_line_to_copy() -> None:
    bare = {"backbones", "datasets list"}  # they take nothing
    for path, command in leaves(COMMANDS):
        assert command.help, path
        said = f"{command.help}\n{command.epilog or ''}"
        lines = re.findall(rf"^ *(stepcli {path}\b.*)", said, re.MULTILINE)
        assert lines or path in bare, f"{path}: no example"
        for line in lines:
            for words in stepcli_words(line):
                parse(words)
    assert COMMAND_LINES.keys() <= {path for path, _ in leaves(COMMANDS)}


def anchors(page: Path) -> set[str]:
    """What a link may point at within a page."""
    titles = re.findall(r"^#+ (.*)", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@every_page
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        place = page.parent / target if target else page
        assert place.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(place), f"{page.name}: {link}"


@pytest.mark.parametrize("folder", ["docs", "docs/maintainers"])
def test_the_index_names_every_page(folder: str) -> None:
    index = (TREE / folder / "index.md").read_text()
    notes = TREE / folder / "decisions"
    for page in (*(TREE / folder).glob("*.md"), *notes.glob("*.md")):
        link = page.relative_to(TREE / folder).as_posix()
        assert page.name == "index.md" or f"({link}" in index, link


def said_in_sources() -> list[str]:
    """Every text of the package's code, its varying parts as …"""
    found = []
    for room in ("apply", "cache", "extract", "probe", "runtime"):
        for path in (TREE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    found.append(
                        "".join(
                            str(getattr(v, "value", "…")) if isinstance(v, ast.Constant) else "…"
                            for v in node.values
                        )
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


def test_every_message_that_is_explained_is_said_somewhere() -> None:
    texts = said_in_sources()
    page = (TREE / "docs" / "troubleshooting.md").read_text()
    messages = [
        row.split("|")[1].strip()
        for section in page.split("\n## ")[1:-1]
        for row in re.findall(r"^\| `.*", section, re.MULTILINE)
    ]
    assert len(messages) > 30
    for message in messages:
        # Between its varying parts each stretch must stand in one text, in this order.
        parts = message.strip("`").split("…")
        pattern = re.compile(".*".join(map(re.escape, parts)))
        longest = max(parts, key=len)
        assert any(pattern.search(text) for text in texts if longest in text), message


def test_the_sizes_of_token_layouts_are_what_they_come_to() -> None:
    page = (TREE / "docs" / "token-layout.md").read_text()
    sides = {"cls": 1, "grid2": 4, "grid4": 16, "grid8": 64}
    rows = re.findall(r"^\| (\S+) \| (\d+) \| (\d+) x \d+ \|(.*)\|$", page, re.MULTILINE)
    assert len(rows) == 6
    for name, dim, side, cells in rows:
        prefix = 0 if name.startswith("mobilenet") else 1
        tokens = [*sides.values(), int(side) ** 2 + prefix]
        for count, cell in zip(tokens, cells.split("|"), strict=True):
            if cell.strip():
                assert int(cell.replace(",", "")) == 16 * count * int(dim) * 2, (name, cell)
    for clips, cells in re.findall(r"^\| ([\d,]+)(?: \(SSv2\))? \|(.*)\|$", page, re.MULTILINE):
        for count, cell in zip([*sides.values(), 257], cells.split("|"), strict=True):
            size = int(clips.replace(",", "")) * 16 * count * 768 * 2 / 1e9
            assert float(cell.replace(",", "")) == pytest.approx(size, abs=0.06, rel=0.03)


def test_counts_are_those_of_the_registries() -> None:
    """A page that says how many methods, recipes or data sets there are is right about it."""
    true = {
        "methods": {len(registry().names()), len((*CONTROLS, *ORDER_BLIND, "step"))},
        "recipes": {len(list((TREE / "probe" / "recipes").glob("*.yaml")))},
        "data sets": {len(DATASETS), len(list((TREE / "extract/datasets/units").glob("*.txt")))},
    }
    told = [
        (page.name, found[0], int(NUMBERS.get(found[1].lower(), found[1])), found[2].lower())
        for page in (*PAGES, TREE / "CHANGELOG.md")
        if page.parent.name != "decisions"  # notes of their day
        for found in COUNTED.finditer(page.read_text())
    ]
    assert {noun for _, _, _, noun in told} == true.keys()
    assert not [(page, text) for page, text, count, noun in told if count not in true[noun]]
