"""The parts of `make transcript`, short of its new environment."""

import os
import re
from pathlib import Path

import transcript

TREE = Path(__file__).resolve().parents[2]


def test_the_page_says_how_many_videos_there_are_and_links_to_the_guide(tmp_path: Path) -> None:
    transcript.lay_out_videos(TREE, tmp_path)
    videos = transcript.count_videos(tmp_path)
    assert (tmp_path / "new.mp4").is_file()
    text = transcript.head(videos, "abc1234", 3.2)
    assert f"{videos} of the bundled clips" in text
    assert "at abc1234; 3 minutes in all." in text
    (link,) = re.findall(r"\]\((.+?)\)", text)
    assert (TREE / "docs/maintainers" / link).resolve() == transcript.GUIDE


def test_a_command_is_shown_with_what_it_printed_and_how_it_ended(tmp_path: Path) -> None:
    def typed(line: str) -> str:
        return transcript.typed_and_said(line, tmp_path, "python", dict(os.environ))

    assert typed("echo one") == "$ echo one\none"
    assert typed("echo no >&2; exit 2") == "$ echo no >&2; exit 2\nno\n[exit code 2]"
    long = typed("seq 100").splitlines()
    assert long[transcript.SHOWN_LINES // 2 + 1] == "... 60 lines ..."
    assert (long[1], long[-1]) == ("1", "100")


def test_the_guide_is_typed_with_the_backbone_that_needs_no_hub() -> None:
    blocks = transcript.FENCE.findall(transcript.GUIDE.read_text())
    commands = "\n".join(block for _, block in blocks)
    assert transcript.OF_THE_GUIDE in commands
    assert commands.count("--backbone") == commands.count(transcript.OF_THE_GUIDE)
