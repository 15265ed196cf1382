"""Recordings of about a minute: the bundled clips with pauses between them, and their truth.

    python benchmarks/recordings.py OUT [--seed 0] [--seconds 60]

writes OUT/<recording>.mp4 and OUT/recordings.csv, one line per action: path, label, start_seconds,
end_seconds, split, group. Clips run at a quarter of their speed, 10 frames per second. A pause of 2
to 6 seconds holds the last frame of the clip before it, then the first frame of the clip after it,
so that a single frame does not tell an action from a pause. Each clip is used once; recordings of
the train split hold clips of the train split alone. The order, the pauses and the cut into
recordings follow from the seed.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

CLIPS = Path(__file__).parents[1] / "examples" / "openclose"
RATE = 10
PAUSE = (2.0, 6.0)
"""Seconds."""


def frames_of(clip: Path) -> list[np.ndarray]:
    """[height, width, 3] uint8 of every frame."""
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def joined(
    clips: list[dict[str, str]], numbers: np.random.Generator, actions: list[dict[str, Any]]
) -> Iterator[np.ndarray]:
    """The frames of one recording; adds what happens when to `actions`."""
    count, held = 0, None
    for clip in [*clips, None]:
        pause = round(numbers.uniform(*PAUSE) * RATE)
        images = [] if clip is None else frames_of(CLIPS / clip["path"])
        before = pause if not images else pause // 2 if held is not None else 0
        for _ in range(before):
            assert held is not None
            yield held
        for _ in range(pause - before):
            yield images[0]
        count += pause
        if clip is None:
            return
        start, count = count, count + len(images)
        actions.append(
            {"label": clip["label"], "start_seconds": start / RATE, "end_seconds": count / RATE}
        )
        yield from images
        held = images[-1]


def write(path: Path, images: Iterator[np.ndarray]) -> float:
    """Encode a recording; returns its seconds."""
    count = 0
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": "18"})
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 2
        for image in images:
            if not count:
                stream.height, stream.width = image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            count += 1
        container.mux(stream.encode())
    return count / RATE


def make(out: Path, seed: int, seconds: float) -> None:
    """Write all recordings and their list."""
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    with (CLIPS / "openclose.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for split in ("train", "test"):
        numbers = np.random.default_rng([seed, split == "test"])
        clips = [row for row in rows if row["split"] == split]
        clips = [clips[i] for i in numbers.permutation(len(clips))]
        # A clip with its pause takes about 9.4 seconds.
        count = max(1, round(len(clips) * 9.4 / seconds))
        for number, part in enumerate(np.array_split(np.arange(len(clips)), count)):
            name, actions = f"{split}-{number:02d}", []  # type: str, list[dict[str, Any]]
            length = write(out / f"{name}.mp4", joined([clips[i] for i in part], numbers, actions))
            lines += [
                {"path": f"{name}.mp4", **action, "split": split, "group": name}
                for action in actions
            ]
            print(f"{name}: {length:.0f} s, {len(actions)} actions", flush=True)
    with (out / "recordings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0, help="Of a recording, about.")
    given = parser.parse_args()
    make(given.out, given.seed, given.seconds)
