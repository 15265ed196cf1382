"""A camera's rolling window against the backbone alone, on the same frames, alternating.

    python benchmarks/stream.py RUN VIDEO

Prints frames a second of both and their ratio: what decoding aside a stream costs beside its tokens
(resizing, rounding as the store does, and the probe at every second full window).
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from stepcli.apply.prediction.probes import Applied
from stepcli.apply.prediction.stream import RollingWindow
from stepcli.apply.prediction.windows import video_times
from stepcli.extract.decode.container import decode, open_video
from stepcli.extract.decode.orientation import upright

FRAMES = 96
ROUNDS = 6


def main() -> None:
    torch.set_num_threads(1)
    applied = Applied([Path(sys.argv[1])], "auto")
    video = Path(sys.argv[2])
    times = video_times(video)[:FRAMES]
    with open_video(video) as (container, stream):
        pictures = [upright(f) for f, _ in zip(decode(container, stream), times, strict=False)]
    shaped = np.stack([applied.plan.shape_pixels(picture) for picture in pictures])
    # The window's grid is the video's own frames, so that every frame counts.
    step = float(np.diff(times).mean())

    def backbone() -> None:
        for picture in shaped:
            applied.frame_tokens(picture[None])

    def windows() -> None:
        window = RollingWindow(applied, step * applied.spec.frames)
        for number, picture in enumerate(pictures):
            if window.push(picture, number * step) and number % (applied.spec.frames // 2) == 0:
                for probe in applied.probes:
                    probe.probabilities(window.look().clip, applied.device)

    ways = {"backbone": backbone, "stream": windows}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        # The other one first each time; the first round warms up and does not count.
        for name in sorted(ways, reverse=bool(number % 2)):
            started = time.perf_counter()
            ways[name]()
            if number:
                seconds[name].append(time.perf_counter() - started)
    rates = {name: len(pictures) / statistics.median(spent) for name, spent in seconds.items()}
    ratios = [b / s for b, s in zip(seconds["backbone"], seconds["stream"], strict=True)]
    print(f"{len(pictures)} frames, {ROUNDS} rounds, medians")
    print(f"backbone alone, one frame at a time: {rates['backbone']:.1f} frames/s")
    print(f"rolling window with the probe: {rates['stream']:.1f} frames/s")
    print(f"ratio: {statistics.median(ratios):.2f} (rounds {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
