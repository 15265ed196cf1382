r"""Both stages on a GPU, side by side with what most people do, in one run.

python benchmarks/gpu.py [--device cuda] [--part equal|probes|sweep|extract|all] [--json out.json]
python benchmarks/gpu.py --device cpu --tiny      # that it runs at all, without a GPU

On a machine with Python 3.12, torch, transformers 5 with what it needs, numpy, pyarrow, h5py and
typer, but no package index, newer and missing packages are carried along: `make gpu-site` packs
them into build/gpu-site.tar.xz (46 MiB; GPU_PYTHON=3.11 for another Python). With a checkout and
that file there, the command is

    tar xJf build/gpu-site.tar.xz -C build && ln -sfn "$PWD" build/gpu-site/stepcli &&
    PYTHONPATH=build/gpu-site PYTHONUNBUFFERED=1 timeout 480 python benchmarks/gpu.py \
    --minutes 7 --json "${OUT:-build}/gpu.json" 2>&1 | tee "${OUT:-build}/gpu.txt"

Every result is printed and kept in the JSON file as soon as it is there, so a run that is cut off
leaves what it has; after --minutes nothing new is begun. The order is: that GPU and CPU agree,
steps of banks, a sweep of 160 runs, extraction with the smallest model first.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from gpu_equal import FULL, TINY, compare  # noqa: E402 (scripts beside this one)
from gpu_extract import CPU, CUDA, as_json, measure  # noqa: E402


def run_script(part: str, words: list[str], end: float, keep: Callable[[list[str]], None]) -> None:
    """Run a script beside this one; print and keep its lines as they appear; stop it at `end`."""
    left = 86_400.0 if end == float("inf") else max(60.0, end - time.monotonic())
    lines: list[str] = []
    command = [sys.executable, "-u", str(HERE / f"gpu_{part}.py"), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as done:
        assert done.stdout is not None
        stop = threading.Timer(left, done.kill)
        stop.start()
        for line in done.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
            keep(lines)
        stop.cancel()
    if done.returncode and time.monotonic() < end:
        raise SystemExit(f"gpu_{part}.py ended with {done.returncode}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--part", choices=["equal", "probes", "sweep", "extract", "all"], default="all"
    )
    parser.add_argument("--tiny", action="store_true", help="small enough for a CPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clips", type=int, default=4096, help="of stage one, at most")
    parser.add_argument(
        "--models", nargs="+", default=["dinov2-small", "dinov2-base", "dinov2-large"]
    )
    parser.add_argument("--precisions", nargs="+", help="of stage one; none: all of the device")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="begin nothing after them (0 = no limit)"
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
    print(", ".join(f"{key} {value}" for key, value in facts.items()), flush=True)
    results: dict[str, object] = {"machine": facts}
    repeats = 1 if given.tiny else given.repeats
    end = time.monotonic() + 60 * given.minutes if given.minutes else float("inf")

    def keep(name: str, found: object) -> None:
        results[name] = found
        if given.result is not None:
            beside = given.result.with_suffix(".part")
            beside.write_text(json.dumps(results, indent=1) + "\n")
            beside.replace(given.result)

    keep("complete", False)
    if given.part in ("equal", "all"):
        size = TINY if given.tiny else FULL
        compare(device, size, lambda found: keep("equal", found), end)
    for part in ("probes", "sweep"):
        if given.part in (part, "all") and time.monotonic() < end:
            words = ["--device", given.device, *(["--tiny"] if given.tiny else [])]
            run_script(part, words, end, partial(keep, part))
    if given.part in ("extract", "all"):
        sizes = ["tiny"] if given.tiny else given.models
        found = measure(
            device,
            tiny=given.tiny,
            repeats=repeats,
            clips=16 if given.tiny else given.clips,
            sizes=sizes,
            precisions=given.precisions or (CUDA if device.type == "cuda" else CPU),
            end=end,
            keep=lambda rates: keep("extract", json.loads(as_json(rates))),
        )
        keep("extract", json.loads(as_json(found)))
    keep("complete", time.monotonic() < end)


if __name__ == "__main__":
    main()
