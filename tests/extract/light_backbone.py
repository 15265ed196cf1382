"""A backbone for tests that start processes of their own: it imports torch and nothing else."""

from pathlib import Path

CODE = """
import torch
from stepcli.extract.backbones.custom_backbone import ImageModel

def light():
    return ImageModel(torch.nn.Conv2d(3, 32, 16, 16), size=64)
"""


def light_backbone(folder: Path) -> str:
    """What to give to --backbone: importing transformers' models takes a process five seconds."""
    file = folder / "light.py"
    file.write_text(CODE)
    return f"{file}:light"
