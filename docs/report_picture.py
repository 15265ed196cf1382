"""Make docs/report.png, the picture of a report in the README; `make report-picture`.

    python docs/report_picture.py demo-out/report/index.html

Takes the top of the page in headless Chromium at 1,000 pixels, and reduces its colours.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1000, 1475
COLOURS = 200
TARGET = Path(__file__).parent / "report.png"


def main() -> None:
    """Take the picture."""
    page = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--window-size={WIDTH},{HEIGHT + 200}", f"--screenshot={shot}", f"file://{page}"],
            check=True, capture_output=True,
        )  # fmt: skip
        with Image.open(shot) as picture:
            top = picture.convert("RGB").crop((0, 0, WIDTH, HEIGHT))
    top.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        TARGET, optimize=True
    )
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
