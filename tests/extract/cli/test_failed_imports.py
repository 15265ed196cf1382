"""Packages that stepcli did not ask for, imported by others, which do not load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("package", "code", "command", "said"),
    [
        (
            "fsspec",
            'raise ImportError("libfoo.so.1: cannot open shared object file")',
            "extract --dataset openclose --limit 1 --backbone mobilenet_v2-bundled",
            "fsspec, which zarr imports, does not load (ImportError: libfoo.so.1: cannot open",
        ),
        (
            "soundfile",
            'raise OSError("sndfile library not found")',
            "extract --dataset openclose --limit 1 --backbone MODEL --tokens cls",
            "soundfile, which transformers imports, does not load (OSError: sndfile library not",
        ),
        (
            "torch",
            'raise OSError("libcudnn.so.9: cannot open shared object file")',
            "doctor",
            "error: torch does not load (OSError: libcudnn.so.9: cannot open",
        ),
    ],
)
def test_what_others_import_is_named_where_it_does_not_load(
    package: str,
    code: str,
    command: str,
    said: str,
    stepcli: Any,
    model_folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """They import whatever they find; a traceback of theirs, or their guess, helps nobody."""
    words = command.replace("MODEL", f"hf:{model_folder('vit')}").split()
    if package == "torch":
        words += ["--stores", str(tmp_path)]
    else:
        words += ["--store", str(tmp_path / "store")]
    site = tmp_path / "site"  # for other processes alone: this one keeps its own torch
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "top_level.txt").write_text(f"{package}\n")
    (site / f"{package}.py").write_text(code)
    path = {"PYTHONPATH": str(site)}
    done = stepcli(*words, **path)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (2 if "MODEL" in command else 1)
    assert "Traceback" in stepcli(*words, "--debug", **path).stderr
