"""The backbone's arithmetic: asked for, taken from the store, or tried."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stepcli.cache import open_store
from stepcli.cache.store.summary import summarize
from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.config import PRECISIONS
from stepcli.extract.pipeline import precision
from stepcli.extract.pipeline.precision import (
    LEAST_COSINE,
    NoHalfPrecision,
    Precision,
    TrialOutOfMemory,
    choose_precision,
    dtype_of,
    try_bfloat16,
)
from stepcli.runtime.device_names import require_device_name
from stepcli.runtime.devices import resolve_device, use_exact_float32
from stepcli.runtime.errors import UsageError

CPU = torch.device("cpu")
FAMILIES = ("dinov2", "clip", "vit", "resnet", "videomae")
Trial = tuple[float, float]


def numerics(place: Path) -> list[str]:
    return [each["numerics"] for each in summarize(open_store(place))["producers"]]  # type: ignore[index, union-attr]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trial_compares_the_tokens_of_every_family(
    family: str, model_folder: Callable[[str], Path]
) -> None:
    backbone = load_backbone(f"hf:{model_folder(family)}")
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    threads = torch.get_num_threads()
    gain, cosine = try_bfloat16(backbone, 2)
    assert gain > 0
    assert LEAST_COSINE <= cosine < 1, "and not the same tokens"
    assert torch.get_num_threads() == threads
    after = backbone.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("has_it", "trial", "least", "chosen", "reason"),
    [
        (True, (1.5, 0.9999), 0, "bfloat16", "1.5 times as fast here"),
        (True, (1.29, 0.9999), 0, "float32", "1.3 times as fast here"),
        (True, (3.0, 0.998), 0, "float32", "0.99800"),
        (True, NoHalfPrecision("no kernel"), 0, "float32", "does not run in bfloat16: no kernel"),
        (True, None, precision.TRIED_PARAMETERS, "float32", "the model is small"),
        (False, None, 0, "float32", "no bfloat16 in hardware"),
    ],
)
def test_a_cpu_takes_bfloat16_where_it_is_faster_and_near(
    has_it: bool,
    trial: Trial | Exception | None,
    least: int,
    chosen: str,
    reason: str,
    model_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a trial measures differs from machine to machine: here it is given."""

    def given(*_: object) -> Trial:
        if isinstance(trial, Exception):
            raise trial
        assert trial is not None, "nothing is tried"
        return trial

    monkeypatch.setattr(precision, "try_bfloat16", given)
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: has_it)
    monkeypatch.setattr(precision, "TRIED_PARAMETERS", least)
    found = choose_precision("auto", CPU, load_backbone(f"hf:{model_folder('dinov2')}"))
    assert found.name == chosen
    assert reason in str(found)


def to_numpy(pixels: Tensor) -> None:
    """As a module that leaves torch does: NumPy has no bfloat16."""
    pixels.numpy()


def without_kernel(pixels: Tensor) -> None:
    """No CPU kernel of it takes bfloat16."""
    if pixels.dtype != torch.float32:
        torch.linalg.inv(pixels[0, 0, :4, :4])


def in_mixed_types(pixels: Tensor) -> None:
    """As a layer that stays in float32."""
    pixels[0, 0] @ torch.ones(pixels.shape[-1], 2)


def beyond_memory(pixels: Tensor) -> None:
    """Asks the host's allocator for more than any machine has, in half precision alone."""
    if pixels.dtype != torch.float32:
        torch.empty(2**50, dtype=torch.uint8)


def beyond_python(pixels: Tensor) -> None:
    """The same of Python's."""
    if pixels.dtype != torch.float32:
        bytearray(2**62)


def fails(pixels: Tensor) -> None:
    """In any precision."""
    raise RuntimeError("of the model itself")


def with_step(step: Callable[[Tensor], None], folder: Path) -> Backbone:
    """A backbone whose model does this with its pixels first, and so does each copy of it."""
    backbone = load_backbone(f"hf:{folder}")
    backbone.model.register_forward_pre_hook(
        lambda _, args, kwargs: step(args[0] if args else kwargs["pixel_values"]), with_kwargs=True
    )
    return backbone


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_model_that_does_not_run_in_half_precision_is_told_from_one_without_memory(
    device: str, model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "TRIED_PARAMETERS", 0)
    folder, place = model_folder("dinov2"), torch.device(device)
    for step in (to_numpy, without_kernel, in_mixed_types):
        found = choose_precision("auto", place, with_step(step, folder))
        if device == "cpu":
            assert found.name == "float32"
            assert "the model does not run in bfloat16: " in found.reason
        else:
            assert found == Precision("bfloat16", "cuda has it in hardware")
    for step in (beyond_memory, beyond_python):
        with pytest.raises(TrialOutOfMemory, match=r"memory ran out while bfloat16 was tried"):
            choose_precision("auto", place, with_step(step, folder))
    with pytest.raises(RuntimeError, match="of the model itself"):
        choose_precision("auto", place, with_step(fails, folder))


@pytest.mark.parametrize(
    ("flags", "has_it"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16 sve", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("model name\t: bf16 of a kind", False),
    ],
)
def test_what_the_processor_says(flags: str, has_it: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n")
    assert precision._cpu_has_bfloat16(tmp_path / "cpuinfo") is has_it
    assert precision._cpu_has_bfloat16(tmp_path / "none") is False


@pytest.mark.parametrize(
    ("device", "has_it", "auto", "refused"),
    [
        ("cuda:0", True, "bfloat16", ""),
        ("cuda:0", False, "float16", "bfloat16"),
        ("mps", True, "bfloat16", "tf32"),
        ("mps", False, "float16", "bfloat16"),
        ("cpu", False, "float32", "tf32"),
    ],
)
def test_what_a_device_offers(
    device: str,
    has_it: bool,
    auto: str,
    refused: str,
    model_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_it)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda *_: has_it)
    backbone = load_backbone(f"hf:{model_folder('dinov2')}")
    place = torch.device(device)
    assert choose_precision("auto", place, backbone).name == auto
    for name in PRECISIONS:
        if name == refused or (name == "tf32" and place.type != "cuda"):
            with pytest.raises(UsageError, match=f"--precision {name}: {place.type} has float32"):
                choose_precision(name, place, backbone)
        else:
            found = choose_precision(name, place, backbone)
            assert found == Precision(name, "as asked for")
            assert dtype_of(name) is getattr(torch, name.replace("tf32", "float32"))


def test_a_gpu_computes_in_float32_where_half_precision_is_not_near(
    model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    backbone = load_backbone(f"hf:{model_folder('resnet')}")
    assert choose_precision("auto", torch.device("cuda:0"), backbone).name == "bfloat16"
    monkeypatch.setattr(precision, "LEAST_COSINE", 1.0)
    found = choose_precision("auto", torch.device("cuda:0"), backbone)
    assert found.name == "float32"
    assert "mean token cosine of bfloat16 0.99" in found.reason


def test_a_store_goes_on_in_its_own_precision(
    extract: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    summaries: list[Any],
) -> None:
    place = tmp_path / "store"
    assert extract(precision="auto", limit=2) == 0
    assert numerics(place) == ["float32"]
    assert "precision: float32 (the model is small" in capsys.readouterr().err.replace(
        "this CPU has no bfloat16 in hardware", "the model is small"
    )
    other = tmp_path / "other"
    assert extract(precision="bfloat16", limit=2, store=other) == 0
    assert "precision: bfloat16 (as asked for)" in capsys.readouterr().err
    assert extract(precision="auto", limit=6, store=other) == 0
    said = capsys.readouterr().err
    assert "precision: bfloat16 (as the clips that the store holds)" in said
    assert "made otherwise" not in said
    assert numerics(other) == ["bfloat16"]
    assert extract(precision="float32", store=other) == 0
    assert (
        "note: clips of this store were made otherwise: numerics: store bfloat16, now float32"
        in (capsys.readouterr().err)
    )
    assert sorted(numerics(other)) == ["bfloat16", "float32"]
    exact, mixed = open_store(place), open_store(other)
    a, b = (store.read_floats(exact.ids).astype(np.float64) for store in (exact, mixed))
    assert not np.array_equal(a, b)
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    assert cosine.mean() >= LEAST_COSINE


def test_apple_s_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    require_device_name("mps")
    with pytest.raises(UsageError, match="torch finds no Apple GPU"):
        resolve_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("mps") == torch.device("mps")


def test_tf32_is_on_only_where_it_was_asked_for() -> None:
    try:
        for asked in (True, False):
            use_exact_float32(tf32=asked)
            flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
            assert flags == (asked, asked)
    finally:
        use_exact_float32()
