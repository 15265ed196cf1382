"""The memory that a decoder process may take by default, reached by a small file (`make fuzz`)."""

import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stepcli.extract.decode.isolated import end_idle, video_frames
from stepcli.extract.decode.process import DEFAULT_GIB, VARIABLE
from stepcli.runtime.errors import VideoError

SIDE = 16_000
"""Pixels; FFmpeg refuses some 400 more by itself."""


@pytest.mark.skipif("STEPCLI_FUZZ" not in os.environ, reason="takes gigabytes: make fuzz")
def test_frames_of_gigabytes_reach_the_default_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    end_idle()
    path = tmp_path / "huge.mov"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("png", rate=25, options={"compression_level": "1"})
        stream.height = stream.width = SIDE
        stream.pix_fmt = "rgb48be"  # 1.5 GB per frame
        frame = av.VideoFrame.from_ndarray(np.zeros((SIDE, SIDE, 3), np.uint16), format="rgb48be")
        for number in range(4):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert path.stat().st_size < 64 << 20
    said = f"do not fit in the {DEFAULT_GIB:g} GiB of memory that a decoder process may take"
    with pytest.raises(VideoError, match=said):
        list(video_frames(path, [0, 1, 2, 3]))
