"""The API reference holds what guides tell their reader to import; its check sees broken links."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "docs"))
from api_site import MODULES  # noqa: E402
from api_site_check import broken_links  # noqa: E402

IMPORT = re.compile(r"^(?:from (stepcli[\w.]*) import|import (stepcli[\w.]*))", re.MULTILINE)


def test_what_guides_import_is_in_the_reference() -> None:
    missing = {
        f"{page.name} imports {name}: add it to MODULES of docs/api_site.py"
        for page in (*TREE.glob("docs/*.md"), TREE / "docs" / "notebook.py")
        for found in IMPORT.findall(page.read_text())
        for name in found
        if name and name != "stepcli" and name not in MODULES
    }
    assert not missing


@pytest.mark.parametrize("name", MODULES)
def test_every_module_of_the_reference_is_there(name: str) -> None:
    assert importlib.util.find_spec(name) is not None
    assert MODULES.count(name) == 1


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    good = '<a href="b.html#there">b</a><p id="here"></p><a href="#here">here</a>'
    (tmp_path / "a.html").write_text(good)
    (tmp_path / "b.html").write_text('<p id="there"></p><script>const a = `href="${x}"`;</script>')
    assert broken_links(tmp_path) == []
    (tmp_path / "a.html").write_text(good + '<a href="c.html">c</a><a href="b.html#gone">b</a>')
    (tmp_path / "b.html").write_text('<p id="there"></p><script src="https://x/y.js"></script>')
    problems = broken_links(tmp_path)
    assert [problem.split(": ", 1)[1] for problem in problems] == [
        "c.html: no such file",
        "b.html#gone: no such anchor",
        "asks a network (src)",
    ]
    assert broken_links(tmp_path / "nowhere")
