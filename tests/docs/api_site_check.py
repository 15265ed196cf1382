"""Check the API reference that `make docs` has made: its links, and its search in a browser.

    python tests/docs/api_site_check.py build/docs [--browser chromium]

Every link of every page leads to a page and an anchor that are there, and nothing is asked of a
network. In a headless Chromium the pages open without an error on the console, and a search finds
what a user looks for, with links that lead there. Ends with 1 and names what is wrong.
"""

import argparse
import html
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, unquote

SEARCHED = {
    "create_store": "stepcli.cache.create_store",
    "load_probe": "stepcli.apply.prediction.api.load_probe",
    "TokenBatch": "stepcli.probe.data.tokens.TokenBatch",
    "DamagedStore": "stepcli.runtime.errors.DamagedStore",
}
LINK = re.compile(r'(?:href|src)="([^"]+)"')
SCRIPT = re.compile(r"<script([^>]*)>.*?</script>", re.DOTALL)
ID = re.compile(r'\bid="([^"]+)"')


def broken_links(site: Path) -> list[str]:
    """Links to nowhere, and anything but a link that would ask a network."""
    # What scripts put together is no link of the page.
    pages = {
        page.resolve(): SCRIPT.sub(r"<script\1></script>", page.read_text())
        for page in sorted(site.rglob("*.html"))
    }
    anchors = {page: set(map(html.unescape, ID.findall(text))) for page, text in pages.items()}
    problems = [] if pages else [f"{site}: no page"]
    for page, text in pages.items():
        problems += [
            f"{page}: asks a network ({attribute})"
            for attribute in ("src", "srcset", "@import")
            if re.search(rf'{attribute}="?\s*(?:https?:)?//', text)
        ]
        for link in map(html.unescape, LINK.findall(text)):
            if re.match(r"(?:https?:|data:|mailto:|javascript:)", link):
                continue
            place, _, anchor = link.partition("#")
            target = (page.parent / unquote(place)).resolve() if place else page
            if not target.is_file():
                problems.append(f"{page}: {link}: no such file")
            elif anchor and target in anchors and unquote(anchor) not in anchors[target]:
                problems.append(f"{page}: {link}: no such anchor")
    return problems


def browsed(browser: str, address: str) -> tuple[str, list[str]]:
    """A page after its scripts ran, and what the console was told."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
    done = subprocess.run(
        [browser, *flags, "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom",
         address],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def browser_problems(site: Path, browser: str) -> list[str]:
    """What a reader would meet."""
    problems = []
    start = (site / "index.html").resolve()
    for page in sorted(site.resolve().rglob("*.html")):
        text, console = browsed(browser, f"file://{page}")
        problems += [f"{page}: {line}" for line in console]
        if 'type="search"' not in text:
            problems.append(f"{page}: did not open, or has no search")
    for words, wanted in SEARCHED.items():
        text, _ = browsed(browser, f"file://{start}?search={quote(words)}")
        text = SCRIPT.sub("", text)
        found = re.findall(r'<a href="([^"]+)" class="attr', text)
        module, _, name = wanted.rpartition(".")
        places = {f"{module.replace('.', '/')}.html#{name}"}
        if not places & set(found):
            problems.append(f"search {words!r}: {wanted} is not found, but {found[:3]}")
        problems += [
            f"search {words!r}: {link} leads nowhere"
            for link in found
            if not (start.parent / link.partition("#")[0]).is_file()
        ]
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--browser", help="chromium; without it only the links are checked")
    given = parser.parse_args()
    problems = broken_links(given.site)
    if given.browser:
        problems += browser_problems(given.site, given.browser)
    for problem in problems:
        print(problem)  # noqa: T201
    pages = len(list(given.site.rglob("*.html")))
    how = "links and search" if given.browser else "links (no browser)"
    print(f"{given.site}: {pages} pages, {how}: {len(problems)} problems")  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
