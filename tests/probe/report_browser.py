"""Open a report in a headless Chromium, as a reader would; `make report-check`.

    python tests/probe/report_browser.py report/index.html [--axe axe.min.js] [--shots folder]

At phone and desktop width: no error on the console, no request to any network, every picture drawn,
nothing wider than the screen, what scrolls sideways has a hint, a click sorts, a word searches;
with axe-core no accessibility fault of any weight. --shots keeps the whole page at each width, in
pictures of at most 8,000 pixels (phone-1.png, ...), and the page as printed, to be looked at. Ends
with 1 and says what is wrong.
"""

import argparse
import html
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTHS = {"phone": 390, "desktop": 1400}
PIECE = 8000
"""Pixels in the height of a picture; Chromium does not draw more than 16,384."""

FRAME = """<!DOCTYPE html><html><head><script>
window.addEventListener("message", (event) =>
  document.documentElement.setAttribute("data-result", event.data));
</script><style>
body {{ margin: 0; overflow: hidden }} iframe {{ border: 0; display: block }}
</style></head>
<body><iframe src="{page}" width="{width}" height="{height}" style="margin-top: -{above}px">
</iframe></body></html>
"""
"""A window of Chromium is at least 500 pixels wide; a frame within it may be as wide as a phone."""

PROBE = """
<script>
const faults = [];
window.addEventListener("error", (event) => faults.push(`error: ${event.message}`));
document.addEventListener("securitypolicyviolation", (event) =>
  faults.push(`the page's policy forbids ${event.blockedURI}`));
window.addEventListener("load", async () => {
  const pictures = [...document.images];
  for (const image of pictures) {
    await image.decode().catch(() => faults.push(`not drawn: ${image.alt}`));
  }
  const requests = performance.getEntriesByType("resource").map((entry) => entry.name)
    .filter((name) => !name.startsWith("data:"));
  faults.push(...requests.map((name) => `request: ${name}`));
  const height = document.documentElement.scrollHeight;
  const wide = document.documentElement.scrollWidth;
  if (wide > window.innerWidth + 1) faults.push(`${wide} pixels wide on ${window.innerWidth}`);
  let scrolling = 0;
  for (const region of document.querySelectorAll(".scroll, .paper, pre")) {
    const wider = region.scrollWidth > region.clientWidth + 1;
    const hint = region.previousElementSibling;
    const shown = hint.checkVisibility();
    if (wider !== shown) faults.push(`hint of ${region.getAttribute("aria-label")}: ${shown}`);
    scrolling += wider;
  }
  let sorted = 0;
  for (const table of document.querySelectorAll("table")) {
    const heads = [...table.tHead.rows[0].cells];
    const column = heads.findIndex((_, i) =>
      [...table.tBodies[0].rows].every((row) => /^[\\d.,]+$/.test(row.cells[i].textContent)));
    if (column < 0) continue;
    heads[column].querySelector("button").click();
    const values = [...table.tBodies[0].rows].map((row) =>
      Number(row.cells[column].textContent.replaceAll(",", "")));
    if (values.some((value, i) => i > 0 && value < values[i - 1])) faults.push("does not sort");
    sorted += 1;
  }
  let searched = 0;
  for (const input of document.querySelectorAll("input[type=search]")) {
    const rows = [...document.getElementById(input.dataset.for).tBodies[0].rows];
    const word = rows[0].cells[0].textContent.trim();
    input.value = word;
    input.dispatchEvent(new Event("input"));
    const shown = rows.filter((row) => !row.hidden);
    if (!shown.length || shown.some((row) => !row.textContent.includes(word))) {
      faults.push("does not search");
    }
    input.value = "";
    input.dispatchEvent(new Event("input"));
    searched += 1;
  }
  let axe_rules = 0;
  if (window.axe) {
    const told = await axe.run(document);
    axe_rules = told.passes.length;
    for (const fault of told.violations) {
      faults.push(`${fault.impact}: ${fault.id}: ${fault.nodes[0].html.slice(0, 120)}`);
    }
  }
  const width = window.innerWidth;
  const found =
    {width, height, faults, pictures: pictures.length, scrolling, sorted, searched, axe_rules};
  window.top.postMessage(JSON.stringify(found), "*");
});
</script>
"""


def chromium(*words: str) -> subprocess.CompletedProcess[str]:
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
    return subprocess.run(
        ["chromium", *flags, "--hide-scrollbars", "--enable-logging=stderr", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def examine(page: Path, axe: Path | None, width: int) -> dict[str, object]:
    """What one width shows."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        own = PROBE if axe is None else f"<script>{axe.read_text()}</script>{PROBE}"
        copy.write_text(page.read_text().replace("<head>", f"<head>{own}", 1))
        frame = Path(folder) / "frame.html"
        frame.write_text(FRAME.format(page="page.html", width=width, height=900, above=0))
        done = chromium(
            f"--window-size={width},900",
            "--virtual-time-budget=60000",
            "--dump-dom",
            f"file://{frame}",
        )
    found = re.search(r'data-result="([^"]*)"', done.stdout)
    if found is None:
        return {"faults": [f"the page did not finish: {done.stderr[-500:]}"]}
    result: dict[str, object] = json.loads(html.unescape(found[1]))
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    result["faults"] = [*result["faults"], *console]  # type: ignore[misc]
    return result


def draw(page: Path, width: int, height: int, target: Path) -> None:
    """The whole page in pictures that begin where the one before ends."""
    for old in target.parent.glob(f"{target.name}-*.png"):
        old.unlink()
    piece = math.ceil(height / math.ceil(height / PIECE))  # no last one of a few pixels
    for number, above in enumerate(range(0, height, piece), 1):
        with tempfile.TemporaryDirectory() as folder:
            frame = Path(folder) / "frame.html"
            text = FRAME.format(page=f"file://{page}", width=width, height=height, above=above)
            frame.write_text(text)
            words = (
                f"--window-size={width},{min(piece, height - above)}",
                f"--screenshot={target}-{number}.png",
            )
            chromium(*words, "--virtual-time-budget=20000", f"file://{frame}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--shots", type=Path)
    given = parser.parse_args()
    page = given.page.resolve()
    bad = 0
    for name, width in WIDTHS.items():
        result = examine(page, given.axe, width)
        print(f"{name}, {width} pixels: {json.dumps(result)}")  # noqa: T201
        bad += bool(result["faults"])
        if given.shots is not None:
            given.shots.mkdir(parents=True, exist_ok=True)
            height = result.get("height", PIECE)
            assert isinstance(height, int)
            draw(page, width, height, given.shots.resolve() / name)
    if given.shots is not None:
        paper = (given.shots / "print.pdf").resolve()
        chromium("--no-pdf-header-footer", f"--print-to-pdf={paper}", f"file://{page}")
        if not paper.is_file() or not paper.read_bytes().startswith(b"%PDF"):
            print("the page does not print")  # noqa: T201
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
