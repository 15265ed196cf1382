"""A DINOv2 out of an ONNX file that torch has exported: its weights, as transformers names them.

Initialisers called `backbone.*` keep their names. Weights of linear layers are folded into the
right-hand sides of products, without a name; each is found through the sum with the bias that has
one. The position table is cut in two: the CLS token's entry, and that of the patches, which the
graph resizes.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stepcli.extract.backbones.base import BackboneError
from stepcli.runtime.words import counted

PREFIX = "backbone."
_POSITIONS = "embeddings.position_embeddings"
_MASK = "embeddings.mask_token"
_WRONG = ("missing_keys", "unexpected_keys", "mismatched_keys")


def dinov2_of(graph: Any, heads: int) -> Any:
    """transformers' Dinov2Model with the weights of a graph.

    Args:
        graph: `onnx.GraphProto`.
        heads: of attention, which weights do not tell.

    Raises:
        BackboneError: the graph lacks weights of such a model, or they have other shapes.
    """
    import transformers

    state = dinov2_state(graph)
    dim, _, patch, _ = state["embeddings.patch_embeddings.projection.weight"].shape
    layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layer."))
    side = math.isqrt(state[_POSITIONS].shape[1] - 1)
    config = transformers.Dinov2Config(
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        mlp_ratio=state["encoder.layer.0.mlp.fc1.bias"].shape[0] // dim,
        image_size=side * patch,
        patch_size=patch,
    )
    # Masks are for training alone; the graph has none.
    state.setdefault(_MASK, torch.zeros(1, dim))
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    # Not load_state_dict: transformers renames what checkpoints of older versions name differently.
    model, report = transformers.Dinov2Model.from_pretrained(
        None,
        config=config,
        state_dict=state,
        dtype=torch.float32,
        output_loading_info=True,
        trust_remote_code=False,
    )
    wrong = [str(name) for kind in _WRONG for name in sorted(report[kind])]
    if wrong:
        raise BackboneError(
            f"the ONNX file holds no DINOv2 that is known: {counted(len(wrong), 'weight')} "
            f"missing or unknown (e.g. {wrong[0]})"
        )
    return model


def dinov2_state(graph: Any) -> dict[str, Tensor]:
    """The weights of a graph's encoder, by transformers' names.

    Raises:
        BackboneError: a product or the position table is not where an export puts it.
    """
    values = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]  # equal weights are exported once
    made_by = {name: node for node in graph.node for name in node.output}
    state = {
        name.removeprefix(PREFIX): _tensor(value)
        for name, value in values.items()
        if name.startswith(PREFIX)
    }
    for node in graph.node:
        biases = [name for name in node.input if name.startswith(PREFIX)]
        if node.op_type != "Add" or not biases:
            continue
        (other,) = (name for name in node.input if name not in biases)
        product = made_by.get(other)
        if product is not None and product.op_type == "MatMul" and product.input[1] in values:
            weight = _tensor(values[product.input[1]])
            layer = biases[0].removeprefix(PREFIX).removesuffix(".bias")
            state[f"{layer}.weight"] = weight.T.contiguous()
    if "embeddings.cls_token" not in state:
        raise BackboneError(f"the ONNX file holds no {PREFIX}embeddings.cls_token: no DINOv2")
    if _POSITIONS not in state:
        state[_POSITIONS] = _positions(values, state["embeddings.cls_token"].shape[-1])
    return state


def _positions(values: Mapping[str, Any], dim: int) -> Tensor:
    """[1, 1 + side x side, D]: the CLS token's position, then those of the patches."""
    found: dict[bool, Tensor] = {}
    for name, value in values.items():
        shape = tuple(value.dims)
        if name.startswith(PREFIX) or len(shape) != 3 or (shape[0], shape[2]) != (1, dim):
            continue
        if math.isqrt(shape[1]) ** 2 == shape[1]:
            found.setdefault(shape[1] == 1, _tensor(value))
    if len(found) < 2:
        raise BackboneError("the ONNX file holds no table of positions as DINOv2 has one")
    return torch.cat([found[True], found[False]], dim=1)


def _tensor(value: Any) -> Tensor:
    from onnx import numpy_helper

    return torch.from_numpy(np.array(numpy_helper.to_array(value), np.float32))
