"""Commands in this process: each of them in its own would spend seconds on imports alone."""

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_roots
import torch
import transformers
from typer.testing import CliRunner

from stepcli.apply.reproduction import commands
from stepcli.cli import app


def write_clip(folder: Path) -> None:
    """A CLIP of random weights whose tokenizer knows single characters."""
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tower |= {"intermediate_size": 64, "projection_dim": 16}
    vision = {**tower, "image_size": 64, "patch_size": 16}
    text = {**tower, "vocab_size": 190, "max_position_embeddings": 48, "eos_token_id": 189}
    config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=16)
    transformers.CLIPModel(config).save_pretrained(folder)
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    size = {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}
    transformers.CLIPImageProcessorPil(**size).save_pretrained(folder)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stand-ins, by the name of the recipe's backbone."""
    place = tmp_path_factory.mktemp("models")
    tiny_roots.write_backbone(place / "dinov2")
    write_clip(place / "clip")
    return {"dinov2-base": place / "dinov2", "clip-b16": place / "clip"}


@pytest.fixture
def stepcli_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Run `stepcli WORDS...` in this process, and also what a recipe starts."""

    def run(*words: object) -> Any:
        return CliRunner().invoke(app, [*map(str, words)])

    def alone(words: Sequence[str]) -> int:
        done = run(*words)
        print(done.output)  # noqa: T201
        code: int = done.exit_code
        return code

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(commands, "run_alone", alone)
    yield run
    signal.signal(signal.SIGTERM, before)
