"""Render clips like the bundled ones anew: scripted Meta-World episodes as small H.264 files.

    pip install metaworld packaging av numpy
    apt-get install libosmesa6
    MUJOCO_GL=osmesa python examples/openclose/render.py --out clips --episodes 24

Episodes: seeds counted up from 0, successful ones of at least 16 frames only, every second
simulation step, cut 8 steps after success. Meta-World is MIT-licensed; so are the clips.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import av
import gymnasium
import metaworld  # noqa: F401  (registers its environments with gymnasium)
import numpy as np
from metaworld.policies import ENV_POLICY_MAP

PAIRS = [
    ("drawer-open", "drawer-close"),
    ("door-open", "door-close"),
    ("window-open", "window-close"),
    ("faucet-open", "faucet-close"),
    ("door-lock", "door-unlock"),
    ("plate-slide", "plate-slide-back"),
    ("handle-press", "handle-pull"),
    ("coffee-push", "coffee-pull"),
]
FRAMES_PER_SECOND = 40
STEPS_AFTER_SUCCESS = 8
LEAST_FRAMES = 16
MOST_STEPS = 280


def episode_frames(task: str, seed: int, size: int, camera: str) -> list[np.ndarray] | None:
    """Play one scripted episode; frames [size, size, 3] uint8, or None without success."""
    environment: Any = gymnasium.make(
        "Meta-World/MT1",
        env_name=f"{task}-v3",
        render_mode="rgb_array",
        camera_name=camera,
        width=size,
        height=size,
        seed=seed,
    )
    policy = ENV_POLICY_MAP[f"{task}-v3"]()
    observation, _ = environment.reset(seed=seed)
    frames: list[np.ndarray] = []
    left = None
    for step in range(MOST_STEPS):
        if step % 2 == 0:
            # The off-screen camera hangs upside down.
            frames.append(np.rot90(environment.render(), 2))
        action = np.clip(policy.get_action(observation), -1, 1)
        observation, _, _, _, info = environment.step(action)
        if left is None and info["success"]:
            left = STEPS_AFTER_SUCCESS
        if left is not None:
            if left == 0:
                break
            left -= 1
    environment.close()
    return frames if left is not None and len(frames) >= LEAST_FRAMES else None


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """Write frames [H, W, 3] uint8 as H.264 (crf 27)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "27"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def main() -> None:
    """Render every class of every pair and write the CSVs beside the clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("openclose"))
    parser.add_argument("--episodes", type=int, default=24, help="successful episodes a class")
    parser.add_argument("--tasks", nargs="*", default=[name for pair in PAIRS for name in pair])
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--camera", default="corner2")
    options = parser.parse_args()

    rows = []
    for task in options.tasks:
        kept = seed = 0
        while kept < options.episodes:
            frames = episode_frames(task, seed, options.size, options.camera)
            seed += 1
            if frames is None:
                continue
            clip = f"{task}/{kept:03d}"
            write_video(options.out / "clips" / f"{clip}.mp4", frames)
            split = "train" if 3 * kept < 2 * options.episodes else "test"
            rows.append((clip, f"clips/{clip}.mp4", task, split, clip))
            kept += 1
        print(f"{task}: {kept} episodes of {seed} tried")  # noqa: T201

    with (options.out / "openclose.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "path", "label", "split", "group"), *rows])
    with (options.out / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "partner"), *PAIRS])


if __name__ == "__main__":
    main()
