"""Make docs/order-suite.png, the picture of the order suite in the README; `make order-picture`.

    python docs/order_suite_picture.py runs/order-suite

Draws the report's own figure from a folder of runs, and reduces its colours.
"""

import io
import sys
from pathlib import Path

from PIL import Image

from stepcli.probe.analysis.order_suite import order_suites
from stepcli.probe.report.order_suite_section import SuiteSection
from stepcli.probe.report.style import Figure

DPI = 140
COLOURS = 128
TARGET = Path(__file__).parent / "order-suite.png"


def main() -> None:
    """Draw the picture of the one suite in the folder."""
    (suite,) = order_suites(Path(sys.argv[1]))
    (figure,) = (part for part in SuiteSection(suite).parts() if isinstance(part, Figure))
    sink = io.BytesIO()
    figure.drawn.savefig(sink, format="png", dpi=DPI, metadata={"Software": None})
    with Image.open(sink) as picture:
        reduced = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    reduced.save(TARGET, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
