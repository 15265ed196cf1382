"""Write every method as ONNX and compare it with PyTorch with onnxruntime; `make onnx-check`.

One line per method: the largest difference of a logit, or why it is refused. Ends with 1 where a
method other than those that read more than tokens is refused.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "methods"))

from conftest import write_text
from test_methods import CLASSES, NAMES, build, rich_layout

from stepcli.probe.analysis.onnx_export import write_onnx
from stepcli.runtime.errors import UsageError

REFUSED = {"duration"}
"""It reads the times of frames, which are no tokens."""


def main() -> int:
    refused = set()
    with tempfile.TemporaryDirectory() as folder:
        text = write_text(Path(folder), CLASSES, dim=16, vision_dim=32)
        layout = rich_layout(text, side=2)
        for name in NAMES:
            probe = build(name, layout)
            try:
                difference = write_onnx(probe, layout, name, Path(folder) / "probe.onnx")
                print(f"{name}: logits differ by at most {difference:.1e}", flush=True)  # noqa: T201
            except UsageError as error:
                refused.add(name)
                print(error, flush=True)  # noqa: T201
    return int(refused != REFUSED)


if __name__ == "__main__":
    sys.exit(main())
