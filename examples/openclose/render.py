"""Render the bundled clips anew: scripted Meta-World episodes as small H.264 files.

    pip install metaworld packaging av numpy
    apt-get install libosmesa6
    MUJOCO_GL=osmesa python examples/openclose/render.py --out clips

One environment per episode: an environment that is reset again draws from 50 arrangements only,
and episodes of different seeds become copies of one another. The arm starts at a random pose and
ends at another, so that "the arm leaves home" does not give the direction away; goal markers are
hidden. The bundled clips follow this procedure; the seeds of their poses were not kept, so that a
new run gives other episodes of the same kind. Meta-World is MIT-licensed; so are the clips.
"""

import argparse
import csv
import hashlib
from collections.abc import Callable
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
CAMERA, FIELD_OF_VIEW = "corner2", 0.6  # the second is a fraction of the camera's own
FRAMES_PER_SECOND = 40
STEPS_PER_FRAME = 2
STEPS_TO_START = 40  # not recorded
STEPS_AFTER_SUCCESS = 6
STEPS_TO_END = 24
MIN_FRAMES = 24
MAX_POLICY_STEPS = 280
WINDOW = 0.4  # share of a clip that openclose-windows.csv keeps
POSE_LOW, POSE_HIGH = (-0.35, 0.42, 0.12), (0.35, 0.72, 0.38)  # metres: x, y, z of the hand


class Episode:
    """One scripted episode in an environment of its own.

    Args:
        task: Meta-World's name without its version, e.g. "drawer-open".
        seed: of the arrangement and of the two random poses.
        size: pixels per side.
    """

    def __init__(self, task: str, seed: int, size: int) -> None:
        self.environment: Any = gymnasium.make(
            "Meta-World/MT1",
            env_name=f"{task}-v3",
            render_mode="rgb_array",
            camera_name=CAMERA,
            width=size,
            height=size,
            seed=seed,
        )
        self.policy: Any = ENV_POLICY_MAP[f"{task}-v3"]()
        self.random = np.random.default_rng(seed)
        self.observation, _ = self.environment.reset(seed=seed)
        model = self.environment.unwrapped.model
        model.site_rgba[:, 3] = 0  # goal markers
        model.cam_fovy[model.camera(CAMERA).id] *= FIELD_OF_VIEW
        self.frames: list[np.ndarray] = []
        self.steps = 0

    def play(self) -> list[np.ndarray] | None:
        """Frames [size, size, 3] uint8 of the episode, or None without success or if too short."""
        try:
            self._run(self._towards_random_pose(), STEPS_TO_START, record=False)
            if not self._run(self.policy.get_action, MAX_POLICY_STEPS, until_success=True):
                return None
            self._run(self.policy.get_action, STEPS_AFTER_SUCCESS)
            self._run(self._towards_random_pose(), STEPS_TO_END)
        finally:
            self.environment.close()
        return self.frames if len(self.frames) >= MIN_FRAMES else None

    def _towards_random_pose(self) -> Callable[[np.ndarray], np.ndarray]:
        """Proportional controller of the hand: gripper open, gain 10 as in Meta-World."""
        target = self.random.uniform(POSE_LOW, POSE_HIGH)
        return lambda seen: np.array([*(10 * (target - seen[:3])), -1.0])

    def _run(
        self,
        act: Callable[[np.ndarray], np.ndarray],
        steps: int,
        *,
        record: bool = True,
        until_success: bool = False,
    ) -> bool:
        """Take up to `steps` steps; returns whether the last one was successful."""
        success = False
        for _ in range(steps):
            if record:
                if self.steps % STEPS_PER_FRAME == 0:
                    # The off-screen camera hangs upside down.
                    self.frames.append(np.rot90(self.environment.render(), 2))
                self.steps += 1
            action = np.clip(act(self.observation), -1, 1).astype(np.float32)
            self.observation, _, _, _, info = self.environment.step(action)
            success = bool(info["success"])
            if until_success and success:
                break
        return success


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """Write frames [H, W, 3] uint8 as H.264 (crf 28)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "28"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def random_window(frames: int, random: np.random.Generator) -> tuple[float, float]:
    """Start and end in seconds of a random stretch of WINDOW of the clip, on frame boundaries."""
    length = round(WINDOW * frames)
    start = int(random.integers(0, frames - length + 1))
    return start / FRAMES_PER_SECOND, (start + length) / FRAMES_PER_SECOND


def main() -> None:
    """Render every class of every pair and write the CSVs beside the clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("openclose"))
    parser.add_argument("--episodes", type=int, default=24, help="successful episodes per class")
    parser.add_argument("--tasks", nargs="*", default=[name for pair in PAIRS for name in pair])
    parser.add_argument("--size", type=int, default=224, help="pixels per side")
    options = parser.parse_args()

    clips: list[tuple[str, ...]] = []
    windows: list[tuple[float, float]] = []
    seen: dict[str, str] = {}
    seed = -1  # counted on over all classes: no two episodes share one
    for task in options.tasks:
        kept = 0
        while kept < options.episodes:
            seed += 1
            frames = Episode(task, seed, options.size).play()
            if frames is None:
                continue
            clip = f"{task}/{kept:03d}"
            path = options.out / "clips" / f"{clip}.mp4"
            write_video(path, frames)
            twin = seen.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), clip)
            if twin != clip:
                raise SystemExit(f"{clip} (seed {seed}) has the same bytes as {twin}")
            split = "train" if 3 * kept < 2 * options.episodes else "test"
            clips.append((clip, f"clips/{clip}.mp4", task, split, clip))
            windows.append(random_window(len(frames), np.random.default_rng([seed, 1])))
            kept += 1
        print(f"{task}: {kept} episodes up to seed {seed}")  # noqa: T201

    def write(name: str, *rows: tuple[Any, ...]) -> None:
        with (options.out / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    write("openclose.csv", ("id", "path", "label", "split", "group"), *clips)
    write(
        "openclose-windows.csv",
        ("id", "path", "label", "split", "start_seconds", "end_seconds", "group"),
        *((*clip[:4], *window, clip[4]) for clip, window in zip(clips, windows, strict=True)),
    )
    write("pairs.csv", ("label", "partner"), *PAIRS)


if __name__ == "__main__":
    main()
