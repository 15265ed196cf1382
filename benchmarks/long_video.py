"""Memory of `stepcli predict` on a video of one minute and on one of ten, each in its own process.

    python benchmarks/long_video.py RUN

The videos are the bundled clips joined end to end, packets copied, not encoded again. Prints peak
resident memory of both and their ratio: what a video costs must not grow with its length.
"""

import resource
import subprocess
import sys
import tempfile
from itertools import cycle
from pathlib import Path

import av

CLIPS = Path(__file__).parents[1] / "examples" / "openclose" / "clips"
MINUTES = (1, 10)
WINDOW = 10.0


def join(path: Path, seconds: float) -> int:
    """Join bundled clips until the video is that long; its frames."""
    frames, end = 0, 0
    with av.open(str(path), "w") as target:
        stream = None
        for clip in cycle(sorted(CLIPS.glob("*/*.mp4"))[::7]):
            with av.open(str(clip)) as source:
                if stream is None:
                    stream = target.add_stream_from_template(source.streams.video[0])
                packets = [packet for packet in source.demux(video=0) if packet.pts is not None]
                step = packets[0].duration
                for packet in packets:
                    packet.stream = stream
                    packet.pts += end
                    packet.dts += end
                    target.mux(packet)
                frames += len(packets)
                end += len(packets) * step
                if float(end * source.streams.video[0].time_base) >= seconds:
                    return frames
    raise AssertionError("cycle ends never")


def child(run: Path, video: Path) -> None:
    from stepcli.apply.prediction.api import load_probe, predict

    (found,) = predict(load_probe(run, device="cpu"), video, window=WINDOW, stride=WINDOW / 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(len(found["windows"]), peak)


def main() -> None:
    if len(sys.argv) == 3:
        child(Path(sys.argv[1]), Path(sys.argv[2]))
        return
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in MINUTES:
            video = Path(folder) / f"{minutes}.mp4"
            frames = join(video, 60 * minutes)
            done = subprocess.run(
                [sys.executable, __file__, sys.argv[1], str(video)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            windows, peak = map(int, done.stdout.split()[-2:])
            peaks.append(peak / 1024)
            print(
                f"{minutes} min, {frames} frames: {windows} windows of {WINDOW:g} s, "
                f"peak {peaks[-1]:.0f} MiB"
            )
    print(f"ratio of peaks: {peaks[1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
