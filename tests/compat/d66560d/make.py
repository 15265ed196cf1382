"""Make this folder's stores, runs and exports with the command line of commit d66560d.

    git worktree add ../d66560d d66560d     and install it into ../d66560d/.venv
    python tests/compat/d66560d/make.py ../d66560d/.venv/bin/python /srv/clips

The second argument is a folder to work in, which must not exist. It, and the place of the
checkout, are in some of the files, since runs note where their store was. What that commit itself
read and answered is noted in expected.json, which test_d66560d.py compares with. The backbone is
random and the probes are trained for seconds: nothing here says anything about a method.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

HERE = Path(__file__).resolve().parent
LABELS = ("grow", "shrink", "left", "right")
OPPOSITE = dict(zip(LABELS, (LABELS[1], LABELS[0], LABELS[3], LABELS[2]), strict=True))
TRAIN, TEST = range(3), range(3, 8)
KEPT = ("backbone", "clips", "clips.csv", "stores", "runs", "sweep", "texts", "exported", "pushed")

BACKBONE = """
import torch, transformers
torch.manual_seed(0)
tower = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
vision = dict(tower, image_size=32, patch_size=8)
text = dict(tower, vocab_size=190, max_position_embeddings=24, eos_token_id=189)
config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=8)
characters = [chr(code) for code in range(33, 127)]
words = [*characters, *(f"{c}</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
tokenizer = transformers.CLIPTokenizer(vocab={w: n for n, w in enumerate(words)}, merges=[])
size = {"shortest_edge": 32}
crop = {"height": 32, "width": 32}
transformers.CLIPModel(config).save_pretrained("backbone")
tokenizer.save_pretrained("backbone")
transformers.CLIPImageProcessor(size=size, crop_size=crop).save_pretrained("backbone")
"""

TOKENS = """
import hashlib, json, sys
from stepcli.cache import open_store
found = {}
for name in sys.argv[1:]:
    store = open_store(f"stores/{name}")
    clips = {}
    for clip in store.ids:
        values = store.read_floats([clip])[0]
        digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
        clips[clip] = {"shape": list(values.shape), "float32": digest}
    rows = [[row.id, row.label, row.split, row.group] for row in store.clips()]
    classes = [[row.name, row.partner] for row in store.classes()]
    found[name] = {"clips": clips, "rows": rows, "classes": classes,
                   "failed": sorted(store.quarantined()), "format": store.format}
print(json.dumps(found))
"""


def main() -> None:
    python, work = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    work.mkdir(parents=True)
    os.chdir(work)
    state = {"STEPCLI_STATE": str(work / "state"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    os.environ.update(state)
    make(Old(python))
    note(Old(python))
    for name in KEPT:
        keep(Path(name), HERE / name)


@dataclass(frozen=True)
class Old:
    """The Python in which commit d66560d is installed."""

    python: Path

    def run(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run([self.python, *words], text=True, stdout=subprocess.PIPE)
        if done.returncode not in codes:
            raise SystemExit(f"{words}: exit code {done.returncode}")
        return done.stdout

    def stepcli(self, line: str, codes: tuple[int, ...] = (0,)) -> str:
        return self.run("-m", "stepcli.cli", *line.split(), codes=codes)

    def json(self, line: str) -> Any:
        return json.loads(self.stepcli(line))


def make(old: Old) -> None:
    """Stores, then runs on one of them, then exports of these, in the working folder."""
    write_clips()
    old.run("-c", BACKBONE)
    extract = (
        "extract --dataset csv --root clips.csv --backbone hf:backbone --frames 4"
        " --tokens cls,grid2 --device cpu --workers 1 --store stores/"
    )
    # One clip is no video: it is quarantined, and the exit code is 3.
    old.stepcli(extract + "zarr --part-clips 10 --text hf:backbone", (3,))
    old.stepcli(extract + "hdf5 --format hdf5 --dtype float32", (3,))
    old.stepcli(extract + "int8 --format hdf5 --dtype int8 --limit 8", (0, 3))
    old.stepcli(extract + "zstd --compress zstd --limit 6", (0, 3))
    old.stepcli(extract + "gzip --format hdf5 --compress gzip --limit 6", (0, 3))
    shares = "--limit 12 --world-size 2 --part-clips 3 --rank"
    for share in range(2):
        old.stepcli(f"{extract}share{share} {shares} {share}", (0, 3))
    old.stepcli("store merge stores/share0 stores/share1")
    Path("stores/share0").rename("stores/merged")
    shutil.rmtree("stores/share1")
    damage(Path("stores/merged"))
    old.stepcli("store repair --store stores/merged")  # the part gets a tombstone
    partners(Path("stores/hdf5/classes.csv"), Path("classes.csv"))
    old.stepcli("store labels --store stores/hdf5 --classes classes.csv")

    train = "--store stores/hdf5 --epochs 8 --batch-size 4 --device cpu --runs "
    old.stepcli(f"probe --method step,linear --lr 1e-2 --seeds 2 {train}runs")
    old.stepcli(f"sweep --method step,linear --lr 3e-3,1e-2 --seeds 1 --select {train}sweep")
    old.stepcli("probe --method zero-shot --store stores/zarr --device cpu --runs texts")
    old.stepcli(f"export runs/{one_run('step')} --out exported --onnx")
    old.stepcli(f"push runs/{one_run('linear')} --to pushed")


def note(old: Old) -> None:
    """Write expected.json: what that commit reads and answers."""
    step, linear = one_run("step"), one_run("linear")
    asked = " ".join(f"--video clips/{label}/004.mp4" for label in LABELS)
    answers = old.json(f"predict runs/{step} runs/{linear} {asked} --format json --device cpu")
    names = sorted(path.name for path in Path("stores").iterdir())
    expected = {
        "stores": json.loads(old.run("-c", TOKENS, *names)),
        "results": figures(old.json("results --runs runs --format json")),
        "compared": old.stepcli("results --runs runs --compare linear step"),
        "chosen": old.stepcli("results --runs sweep --format markdown --chosen"),
        "slices": figures(old.json("results --runs sweep --format json --slices")),
        "predicted": answers,
    }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def one_run(method: str) -> str:
    """The run of a method and seed whose name comes first."""
    return min(path.name for path in Path("runs").glob(f"{method}-*"))


def figures(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What says in one word or number of each run what it is and how well it did."""
    return [
        {name: value for name, value in run.items() if isinstance(value, str | int | float)}
        for run in runs
    ]


def write_clips() -> None:
    """The list, its videos, and one file that is no video."""
    lines = ["id,path,label,split,group"]
    generator = np.random.default_rng(0)
    for label in LABELS:
        Path("clips", label).mkdir(parents=True)
        for number in (*TRAIN, *TEST):
            name = f"{label}/{number:03d}"
            write_clip(Path(f"clips/{name}.mp4"), label, generator)
            split = "train" if number in TRAIN else "test"
            lines.append(f"{name},clips/{name}.mp4,{label},{split},{name}")
    Path("clips/broken.mp4").write_bytes(b"no video")
    lines.append(f"broken,clips/broken.mp4,{LABELS[0]},train,broken")
    Path("clips.csv").write_text("\n".join(lines) + "\n")


def write_clip(path: Path, label: str, generator: np.random.Generator) -> None:
    """12 frames of 48 x 48: a square on grey that moves or changes its size."""
    grey, colour = generator.integers(40, 90), generator.integers(150, 255, 3)
    row, size = generator.integers(12, 20), generator.integers(8, 14)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "30"})
        stream.width = stream.height = 48
        stream.pix_fmt = "yuv420p"
        for number in range(12):
            step = 11 - number if label in ("shrink", "left") else number
            moves = label in ("left", "right")
            side, column = (size, 2 * step) if moves else (size // 2 + 2 * step, 8)
            picture = np.full((48, 48, 3), grey, np.uint8)
            picture[row : row + side, column + 4 : column + 4 + side] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def damage(store: Path) -> None:
    """Change one byte of one part's tokens."""
    file = min(path for path in store.rglob("c.*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)


def partners(source: Path, target: Path) -> None:
    """Copy a table of classes, with the opposite of each filled in."""
    with source.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        row["partner"] = OPPOSITE[row["name"]]
    with target.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def keep(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)


if __name__ == "__main__":
    main()
