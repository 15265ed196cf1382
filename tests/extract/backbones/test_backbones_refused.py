"""Backbones that are not available, are incomplete or not known: what is reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from installed_package import Installer

from stepcli.extract.backbones.base import (
    BackboneError,
)
from stepcli.extract.backbones.failures import explain_failure
from stepcli.extract.backbones.load import load_backbone
from stepcli.runtime.errors import UnknownName, UsageError


def test_weights_that_are_not_all_there_are_refused(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """transformers would fill the rest with random numbers and only warn."""
    from safetensors.torch import load_file, save_file

    source = model_folder("vit")
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(source / "model.safetensors")
    del weights[next(name for name in weights if "layer" in name)]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match="lacks 1 of the model's weights"):
        load_backbone(f"hf:{tmp_path}")


def test_a_torchvision_of_another_torch_is_named(
    install: Installer, model_folder: Callable[[str], Path], stepcli: Any, tmp_path: Path
) -> None:
    """transformers imports the one it finds, and says that AutoImageProcessor is not there."""
    fails = 'raise RuntimeError("operator torchvision::nms does not exist")'
    place = install("torchvision", fails, {}).parent
    words = ("extract", "--dataset", "openclose", "--backbone", f"hf:{model_folder('vit')}")
    path = {"PYTHONPATH": str(place)}
    done = stepcli(*words, "--limit", 2, "--store", tmp_path / "store", **path)
    assert done.returncode == 2
    expected = "torchvision does not load (RuntimeError: operator torchvision::nms does not exist)"
    assert expected in done.stderr
    assert "uninstall it (stepcli does without)" in done.stderr
    said = stepcli("doctor", "--stores", tmp_path, **path)
    assert f"MISSING  torchvision      the installed {expected}" in said.stdout


def test_a_torchvision_is_named_whatever_it_fails_with(install: Installer) -> None:
    """transformers' own error does not speak of it, nor need the error behind."""
    error = ModuleNotFoundError("Could not import module 'AutoImageProcessor'.")
    error.__cause__ = OSError("libcudart.so.13: cannot open shared object file")
    assert "AutoImageProcessor" in explain_failure("a/model", error)
    install("torchvision", f'raise OSError("{error.__cause__}")', {})
    said = explain_failure("a/model", error)
    assert "torchvision does not load (OSError: libcudart.so.13: cannot open" in said


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("dinov2-bas", UnknownName, "did you mean dinov2-base"),
        ("dinov2-base", BackboneError, "hub cannot be reached; go online once"),
        ("hf:/no/such/folder", BackboneError, "there is no folder /no/such/folder"),
        ("hf:", UsageError, "names nothing; give hf:<folder>"),
    ],
)
def test_a_backbone_that_cannot_be_had_says_what_to_do(
    name: str, error: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody there
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    with pytest.raises(error, match=text) as caught:
        load_backbone(name)
    assert "\n" not in str(caught.value)


def test_a_family_nobody_taught_us_is_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    config.save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="models of type 'bert' are not known here"):
        load_backbone(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (GatedRepoError, "is gated: accept its licence on the hub, then `hf auth login`"),
        (RepositoryNotFoundError, "the hub has no repository org/model"),
        (LocalEntryNotFoundError, "the hub cannot be reached; go online once"),
    ],
)
def test_the_hubs_refusals_are_told_apart(cause: type[Exception], text: str) -> None:
    """transformers wraps all of them in an OSError of many lines."""
    refusal = cause.__new__(cause, "403")
    error = OSError("You are trying to access\na repo")
    error.__cause__ = refusal
    assert text in explain_failure("org/model", error)
