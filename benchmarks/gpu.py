"""Both stages on a GPU, side by side with what most people do, in one run.

python benchmarks/gpu.py [--device cuda] [--part extract|probes|all] [--json results.json]
python benchmarks/gpu.py --device cpu --tiny      # that it runs at all, without a GPU
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from gpu_extract import as_json, measure  # noqa: E402 (a script beside this one)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--part", choices=["extract", "probes", "all"], default="all")
    parser.add_argument("--tiny", action="store_true", help="small enough for a CPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clips", type=int, default=768, help="of stage one")
    parser.add_argument(
        "--models", nargs="+", default=["dinov2-small", "dinov2-base", "dinov2-large"]
    )
    parser.add_argument("--json", type=Path, dest="result")
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = torch.device(given.device)
    facts = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "date": time.strftime("%Y-%m-%d"),
        **{name: version(name) for name in ("stepcli", "torch", "transformers", "av")},
    }
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    results: dict[str, object] = {"machine": facts}
    repeats = 1 if given.tiny else given.repeats
    if given.part in ("extract", "all"):
        sizes = ["tiny"] if given.tiny else given.models
        found = measure(
            device,
            tiny=given.tiny,
            repeats=repeats,
            clips=16 if given.tiny else given.clips,
            sizes=sizes,
        )
        results["extract"] = json.loads(as_json(found))
    if given.part in ("probes", "all"):
        words = ["--device", given.device, *(["--tiny"] if given.tiny else [])]
        done = subprocess.run(
            [sys.executable, str(HERE / "gpu_probes.py"), *words],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        print(done.stdout, end="")
        results["probes"] = done.stdout.splitlines()
    if given.result is not None:
        given.result.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
