"""The parts of `make transcript`, short of its new environments."""

import re
import sys
from pathlib import Path

import chapters
import pytest
import transcript
from newcomer import SHOWN_LINES, Newcomer, amount, describe_change

TREE = Path(__file__).resolve().parents[2]
PAGE = TREE / "docs/maintainers/transcript.md"


@pytest.fixture
def user(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path, sys.executable)


def test_a_command_is_shown_with_its_output_cost_and_exit_code(user: Newcomer) -> None:
    assert re.fullmatch(r"\$ echo one\none\n\[0\.\d s; disk \+0 MB\]", user.type("echo one"))
    failed = user.type("echo no >&2; exit 2").splitlines()
    assert (failed[1], failed[-1]) == ("no", "[exit code 2]")
    long = user.type("seq 100").splitlines()
    assert long[SHOWN_LINES // 2 + 1] == "... 60 lines ..."
    assert (long[1], long[-2]) == ("1", "100")
    assert user.type("pwd").splitlines()[1] == "~"
    assert user.type("true", shown="false").startswith("$ false\n")


def test_disk_is_counted_by_folder_and_by_folder_of_a_clone(user: Newcomer) -> None:
    (user.home / "stepcli/.git").mkdir(parents=True)
    user.measure()
    said = user.type("mkdir stepcli/.venv && head -c 3000000 /dev/zero > stepcli/.venv/lib")
    assert "disk +3.0 MB: ~/stepcli/.venv +3.0 MB]" in said
    said = user.type("mv stepcli/.venv/lib all && ln all again")
    assert "disk +3.0 MB: ~/again +3.0 MB, ~/all +3.0 MB, ~/stepcli/.venv -3.0 MB]" in said
    assert describe_change({"a": 2_500_000_000}, {"b": 32_300_000}) == (
        "-2.47 GB: ~/a -2.50 GB, ~/b +32 MB"
    )
    assert amount(1_000_000_000) == "1.00 GB"


@pytest.mark.parametrize("chapter", chapters.CHAPTERS, ids=lambda each: each.section or "guide")
def test_a_chapter_types_the_commands_of_its_page_without_a_hub(chapter: chapters.Chapter) -> None:
    commands = [block for name, block in chapter.blocks() if not name]
    back = list(commands)
    for was, now in chapter.replaced.items():
        back = [line.replace(now, was) for line in back]
    printed = chapter.page.read_text().splitlines()
    assert [line for line in back if line not in printed] == []
    for line in commands:
        assert "--backbone" not in line or f"--backbone {chapters.BUNDLED} " in line
    (link,) = re.findall(r"\]\((.+?)\)", transcript.about(chapter))
    assert (PAGE.parent / link).resolve() == chapter.page


def test_each_chapter_reaches_its_end() -> None:
    demo, own, ssv2 = ([line for _, line in each.blocks()] for each in chapters.CHAPTERS)
    assert demo == ["make demo"]
    assert own[0] == "python3 -m venv venv"
    assert own[-1].startswith("stepcli predict ")
    assert ssv2[-1] == "stepcli report"


def test_a_page_without_what_is_replaced_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("\n## A\n```console\necho\n```\n## B\n")

    def blocks(section: str, **replaced: str) -> list[tuple[str, str]]:
        place = tmp_path / "page.md"
        chapter = chapters.Chapter("", place, chapters.clone, section=section, replaced=replaced)
        return list(chapter.blocks())

    assert blocks("## A") == [("", "echo")]
    with pytest.raises(ValueError, match=r"no command contains \['dinov2'\]"):
        blocks("## A", dinov2="x")
    for section in ("## B", "## C"):
        with pytest.raises(ValueError, match=f"no commands below '{section}'"):
            blocks(section)


def test_the_videos_are_those_that_the_page_tells_of(user: Newcomer) -> None:
    chapters.lay_out_videos(user)
    videos = len(list((user.home / "videos").rglob("*.mp4")))
    assert (user.home / "new.mp4").is_file()
    assert f"contains {videos} of the bundled clips" in chapters.CHAPTERS[1].about
    chapters.lay_out_ssv2(user)
    assert len(list((user.home / "ssv2/data/ssv2").rglob("*.webm"))) == 2 * chapters.SSV2_EACH


def test_the_readme_gives_the_size_of_the_demos_environment_as_measured() -> None:
    (measured,) = re.findall(
        r"^\(the environment of make demo.* takes (.+)\)$", PAGE.read_text(), re.M
    )
    (printed,) = re.findall(r"in `\.venv` \(([\d.]+) GB\)", (TREE / "README.md").read_text())
    number, unit = measured.split()
    size = float(number) / (1000 if unit == "MB" else 1)
    assert size < transcript.LARGEST_DEMO / 1e9
    assert abs(size - float(printed)) < 0.1
