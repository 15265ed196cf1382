"""The blocks of the README and of a guide that `transcript.py` types, and what they need there."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from newcomer import Newcomer

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "tests"))

from tiny_roots import write_ssv2  # noqa: E402

GUIDE = TREE / "docs" / "first-hour.md"
README = TREE / "README.md"
KEPT_BACK = 23
"""The door clip that no probe has seen: the guide's last command is about it."""
SSV2_EACH = 24
"""Videos per class of the tiny Something-Something v2."""
BUNDLED = "mobilenet_v2-bundled-320"
FENCE = re.compile(r"^```(console|csv)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Chapter:
    """Blocks of one page that are typed in one folder."""

    title: str
    page: Path
    prepare: Callable[[Newcomer], list[str]]
    """Provides what the page takes as given; returns what was typed for it."""
    section: str = ""
    """Heading of the blocks; empty for the whole page."""
    folder: str = "."
    """Relative to the home."""
    replaced: dict[str, str] = field(default_factory=dict)
    """What the page prints, and what is typed in its place."""
    about: str = ""
    """A sentence for the page of the transcript."""

    def blocks(self) -> Iterator[tuple[str, str]]:
        """Commands as ("", line), and the files between them as (name, text).

        Raises:
            ValueError: the page has no such block, or not a text that is to be replaced.
        """
        text = self.page.read_text()
        if self.section:
            text = text.partition(f"\n{self.section}\n")[2]
            text = re.split(r"^##+ ", text, maxsplit=1, flags=re.MULTILINE)[0]
        found = list(FENCE.finditer(text))
        if not found:
            raise ValueError(f"{self.page.name}: no commands below {self.section!r}")
        printed = "".join(match[2] for match in found)
        if lacking := [each for each in self.replaced if each not in printed]:
            raise ValueError(f"{self.page.name}: no command contains {lacking}")
        for match in found:
            kind, block = match.groups()
            if kind == "csv":
                yield re.findall(r"`([\w.-]+\.csv)`", text[: match.start()])[-1], block
                continue
            for each, instead in self.replaced.items():
                block = block.replace(each, instead)
            yield from (("", line) for line in block.splitlines())


def clone(user: Newcomer) -> list[str]:
    """A copy of the repository as it is committed."""
    line = "git clone --quiet --depth 1 {} stepcli"
    return [user.type(line.format(TREE.as_uri()), shown=line.format("URL"))]


def lay_out_videos(user: Newcomer) -> list[str]:
    """`videos/open`, `videos/close`, and one video that no probe has seen."""
    clips = TREE / "examples" / "openclose" / "clips"
    for thing in ("door", "drawer"):
        for what in ("open", "close"):
            folder = user.home / "videos" / what
            folder.mkdir(parents=True, exist_ok=True)
            for clip in sorted((clips / f"{thing}-{what}").iterdir()):
                shutil.copy(clip, folder / f"{thing}-{clip.name}")
    (user.home / f"videos/open/door-{KEPT_BACK:03}.mp4").rename(user.home / "new.mp4")
    return []


def lay_out_ssv2(user: Newcomer) -> list[str]:
    """A tiny data set in its official layout."""
    write_ssv2(user.home / "ssv2/data/ssv2", SSV2_EACH)
    return []


CHAPTERS = (
    Chapter(
        "From a clone to the demo's table",
        README,
        clone,
        section="## Try it",
        folder="stepcli",
        about="The order suite, next in the README, takes about 13 minutes more and is left out.",
    ),
    Chapter(
        "From a folder of videos to a prediction",
        GUIDE,
        lay_out_videos,
        replaced={"dinov2-base --tokens cls,grid4": f"{BUNDLED} --tokens grid4"},
        about="`videos/` contains 95 of the bundled clips, and `new.mp4` is another one.",
    ),
    Chapter(
        "From Something-Something v2 to a report",
        README,
        lay_out_ssv2,
        section="## On Something-Something v2",
        folder="ssv2",
        replaced={"/data/ssv2": "data/ssv2", "dinov2-base": BUNDLED},
        about=f"`data/ssv2` has the official layout, with 2 classes of {SSV2_EACH} bundled clips. "
        "The environment is that of the first hour.",
    ),
)
