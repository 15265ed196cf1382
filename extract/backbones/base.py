"""What every backbone offers to the pipeline."""

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stepcli.cache.schema.spec import TokenScope
from stepcli.extract.backbones.convolution import fold_normalisation, join_activations
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.runtime.errors import UsageError
from stepcli.runtime.extras import failed_import


class BackboneError(UsageError):
    """A backbone is not available: missing, gated, incomplete or unsupported."""


class FrameTokens(NamedTuple):
    """Tokens of n frames, prefix and patches kept apart."""

    prefix: Tensor
    """CLS and register tokens: [n, P, D]; P may be 0."""
    patches: Tensor
    """[n, rows, columns, D]."""


@dataclass(frozen=True, slots=True)
class BackboneFacts:
    """What a backbone is, apart from its weights."""

    name: str
    """As written in the spec: a short name, or "hf:<repository or folder name>"."""
    source: str
    """Where the weights came from, with the revision."""
    plan: PixelPlan
    dim: int
    """D, channels of a token."""
    grid: tuple[int, int]
    """Rows and columns of patches, or of the feature map."""
    prefix: tuple[str, ...]
    """Names of the prefix tokens in order, e.g. ("cls", "register1"); () for conv nets."""
    token_scope: TokenScope = "frame"
    frames_per_token: int = 1
    depth: int = 0
    """Blocks whose outputs are available as layers (0 = only the last layer's)."""


class Backbone(ABC):
    """A frozen image model: pixels in, tokens out; no gradients, no dropout."""

    def __init__(self, facts: BackboneFacts, model: nn.Module, weights_digest: str) -> None:
        self.facts = facts
        self.model = model.eval().requires_grad_(False)
        self.weights_digest = weights_digest
        self.code_digest = ""
        """sha256 of the file of code that built it, where that is not stepcli's."""

    def preprocess_fast(self) -> None:
        """Resize large frames in two steps from now on: quicker, and nearly the same pixels."""
        self.facts = replace(self.facts, plan=replace(self.facts.plan, path="fast"))

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the model; it computes in `dtype` from then on."""
        self.model.to(device=device, dtype=dtype)

    def compile(self) -> None:
        """Let torch compile the model; what it computes changes by rounding alone."""
        # Float32 is exact by intention: the advice to give up 13 bits of it is no help here.
        warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
        self.model.compile()

    def require_layers(self, layers: Sequence[int]) -> None:
        """Refuse layers that the model does not have.

        Raises:
            UsageError: saying which it has.
        """
        if tuple(layers) == (-1,):
            return
        if not self.facts.depth:
            raise UsageError(
                f"--layers: {self.facts.name} gives tokens of its last layer only (-1); several "
                "layers are available from image transformers"
            )
        if len(set(layers)) < len(layers) or not all(
            -self.facts.depth <= layer <= -1 for layer in layers
        ):
            raise UsageError(
                f"--layers {','.join(map(str, layers))}: expected different numbers from "
                f"{-self.facts.depth} (the first block) to -1 (the last) for {self.facts.name}"
            )

    def layers(self, pixels: Tensor, layers: Sequence[int]) -> list[FrameTokens]:
        """Tokens of several layers, counted from the end.

        -1 is what `tokens` gives, with the model's final normalisation where it has one; -2, -3 ...
        are the outputs of the blocks before the last, as they are (transformers' hidden_states).

        Args:
            pixels: as for `tokens`.
            layers: which; `require_layers` has passed them.
        """
        if tuple(layers) == (-1,):
            return [self.tokens(pixels)]
        raise NotImplementedError(f"{type(self).__name__} has no other layers")

    @abstractmethod
    def tokens(self, pixels: Tensor) -> FrameTokens:
        """Run the model.

        Args:
            pixels: [n, 3, height, width], normalised, on the model's device and in its dtype;
                for a backbone of clip scope [clips, frames, 3, height, width].

        Returns:
            Tokens of the n frames, as the plain model call gives them (the last layer's).
        """


class ClipBackbone(Backbone):
    """Takes whole clips, [clips, frames, 3, height, width]; gives tokens of all time steps."""

    call_frames: int
    """Frames of a clip that the model was made for, or a number that they must be a multiple of."""

    def require_frames(self, frames: int) -> None:
        """Refuse a number of frames that the model cannot take.

        Raises:
            UsageError: saying which it can.
        """
        if frames % self.call_frames:
            raise UsageError(
                f"backbone {self.facts.name} takes clips of {self.call_frames} frames or a "
                f"multiple; found --frames {frames}"
            )


class FeatureMapBackbone(Backbone):
    """A convolutional net: the last feature map is the patches, and there is no prefix."""

    def __init__(self, facts: BackboneFacts, model: nn.Module, weights_digest: str) -> None:
        super().__init__(facts, model, weights_digest)
        fold_normalisation(self.model)
        join_activations(self.model)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def tokens(self, pixels: Tensor) -> FrameTokens:
        """See `Backbone.tokens`."""
        features = self.model(pixels).last_hidden_state  # [n, D, rows, columns]
        patches = features.permute(0, 2, 3, 1)
        return FrameTokens(patches.new_empty(len(patches), 0, patches.shape[-1]), patches)


def digest_weights(model: nn.Module) -> str:
    """sha256 over the names, types, shapes and bytes of all weights, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@torch.inference_mode()
def check_facts(backbone: Backbone, clip_frames: int = 0) -> None:
    """Run one black frame or clip: the output must have the announced shape.

    Raises:
        BackboneError: with both shapes; or the model fails on it, or gives NaN or infinity.
    """
    facts = backbone.facts
    first = next(backbone.model.parameters())
    side = (facts.plan.height, facts.plan.width)
    outer = (1, clip_frames) if clip_frames else (1,)
    pixels = torch.zeros(*outer, 3, *side, device=first.device, dtype=first.dtype)
    try:
        prefix, patches = backbone.tokens(pixels)
    except Exception as error:
        if reason := failed_import(error):
            raise BackboneError(f"backbone {facts.name}: {reason}") from error
        config = getattr(backbone.model, "config", None)
        made_for = getattr(config, "image_size", None)
        size = f" (its config has image_size {made_for})" if made_for else ""
        raise BackboneError(
            f"backbone {facts.name}: the model does not take the {side[0]} x {side[1]} pixels that "
            f"its image processor makes{size}: {' '.join(str(error).split()):.200}; correct "
            "preprocessor_config.json, or give another checkpoint"
        ) from error
    if not bool(prefix.isfinite().all() and patches.isfinite().all()):
        raise BackboneError(
            f"backbone {facts.name}: the model gives tokens that are not finite for a black frame; "
            "its weights are damaged"
        )
    found = (tuple(prefix.shape[1:]), tuple(patches.shape[1:]))
    announced = ((len(facts.prefix), facts.dim), (*facts.grid, facts.dim))
    if found != announced:
        raise BackboneError(
            f"backbone {facts.name}: prefix and patches of shape {announced} were expected from "
            f"its config, the model gives {found}"
        )
