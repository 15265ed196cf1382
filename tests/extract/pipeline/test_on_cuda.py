"""Extraction on a GPU: the virtual one, and the machine's own where it has one."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo  # by transformers' models; it is not to be imported on the virtual device

from stepcli.cache import open_store
from stepcli.extract.backbones.base import FrameTokens
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.token_selection import parse_tokens
from stepcli.extract.pipeline.backbone_runner import BackboneRunner

sys.path.insert(0, str(Path(__file__).parents[2]))  # for virtual_device.py

from virtual_device import WrongStream, virtual_cuda

Extract = Callable[..., int]
CUDA = torch.device("cuda:0")
FAMILIES_TRIED = ["dinov2", "siglip", "mae", "resnet", "xclip", "videomae"]


@pytest.mark.parametrize("family", FAMILIES_TRIED)
def test_a_store_made_on_a_gpu_is_the_cpu_s(family: str, extract: Extract, tmp_path: Path) -> None:
    same = {"tokens": "grid2", "batch": 8, "precision": "float32"}
    with virtual_cuda() as gpu:
        assert extract(family, device="cuda", store=tmp_path / "virtual", **same) == 0
    assert "stream.synchronize" in " ".join(gpu.waits)
    if torch.cuda.is_available():
        assert extract(family, device="cuda", store=tmp_path / "real", **same) == 0
    assert extract(family, device="cpu", store=tmp_path / "cpu", **same) == 0
    wanted = open_store(tmp_path / "cpu")
    for place in {"virtual", "real"} & {path.name for path in tmp_path.iterdir()}:
        found = open_store(tmp_path / place)
        assert found.spec == wanted.spec
        np.testing.assert_allclose(found.read(found.ids), wanted.read(found.ids), atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int8-channel"])
def test_values_are_encoded_on_the_device(dtype: str, extract: Extract, tmp_path: Path) -> None:
    same = {"tokens": "cls,grid2", "dtype": dtype, "layers": (-2, -1)}
    with virtual_cuda():
        assert extract(device="cuda", store=tmp_path / "gpu", **same) == 0
    assert extract(device="cpu", store=tmp_path / "cpu", **same) == 0
    found, wanted = open_store(tmp_path / "gpu"), open_store(tmp_path / "cpu")
    np.testing.assert_allclose(found.read(found.ids), wanted.read(found.ids), atol=0.05)


def test_a_compiled_model_is_warm_before_other_streams_use_it(
    model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the main thread makes on its own stream, others read only when it is whole."""
    backbone = load_backbone(f"hf:{model_folder('dinov2')}")
    plan, selection = backbone.facts.plan, parse_tokens("cls", backbone.facts)
    shown = torch.zeros(2, plan.height, plan.width, 3, dtype=torch.uint8)
    made: list[torch.Tensor] = []

    def tokens(pixels: torch.Tensor) -> FrameTokens:
        if not made:
            made.append(torch.ones(1, device=pixels.device))  # as a compiler's constants
        patches = made[0] * pixels.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1)
        return FrameTokens(patches[:, 0], patches)

    def second_stream() -> np.ndarray:
        runner = BackboneRunner(backbone, selection, device=CUDA, dtype=torch.bfloat16, batch=2)
        runner.warm_up(2)
        with torch.inference_mode(), runner._stream():
            found: np.ndarray = runner._frames(shown).float().cpu().numpy()
        made.clear()
        return found

    monkeypatch.setattr(backbone, "tokens", tokens)
    with virtual_cuda():
        assert second_stream().shape == (2, 1, 1)
    monkeypatch.setattr(BackboneRunner, "_settle", lambda self: None)
    with virtual_cuda(), pytest.raises(WrongStream, match="did not wait"):
        second_stream()


def test_float32_is_not_tf32(model_folder: Callable[[str], Path]) -> None:
    """torch lets cuDNN's convolutions, a ViT's first layer, round to TF32."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    backbone = load_backbone(f"hf:{model_folder('dinov2')}")
    selection = parse_tokens("cls", backbone.facts)
    BackboneRunner(backbone, selection, device=torch.device("cpu"), dtype=torch.float32, batch=2)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


TRANSFORMERS = "dinov2 dinov2-registers clip siglip vit mae deit dinov3 beit ijepa xclip vjepa2"


@pytest.mark.parametrize("family", [*TRANSFORMERS.split(), "videomae"])
def test_attention_is_torch_s_fused_one(family: str, model_folder: Callable[[str], Path]) -> None:
    """On a GPU that is flash attention; written out it would take the square of the tokens."""
    backbone = load_backbone(f"hf:{model_folder(family)}")
    assert backbone.model.config._attn_implementation == "sdpa"
