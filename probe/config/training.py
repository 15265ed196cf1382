"""How probes are trained. Options of `probe` and `sweep`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stepcli.runtime.errors import UsageError
from stepcli.runtime.settings import FrozenConfig, Setting

OPTIMISER, MEMORY = "Optimiser", "Regularisation and memory"
Rate = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(FrozenConfig):
    """How one probe is optimised; a sweep may try several values of each field."""

    lr: Annotated[
        float,
        Field(gt=0, description="Peak learning rate of AdamW."),
        Setting(shown_default="the method's own"),
    ] = 5e-4
    weight_decay: Annotated[
        float,
        Field(ge=0, description="Decoupled weight decay, on matrices only."),
        Setting(OPTIMISER),
    ] = 0.05
    beta1: Annotated[Rate, Field(description="First beta of AdamW."), Setting(OPTIMISER)] = 0.9
    beta2: Annotated[Rate, Field(description="Second beta of AdamW."), Setting(OPTIMISER)] = 0.999
    warmup: Annotated[
        Rate,
        Field(
            description="Share of all steps in which the rate rises linearly; it then falls along "
            "a cosine to zero."
        ),
        Setting(OPTIMISER),
    ] = 0.1
    label_smoothing: Annotated[
        Rate, Field(description="Label smoothing, in [0, 1)."), Setting(OPTIMISER)
    ] = 0.1
    clip_norm: Annotated[
        float,
        Field(ge=0, description="Maximum gradient norm of one probe (0 = off)."),
        Setting(OPTIMISER),
    ] = 0.0
    dropout: Annotated[
        Rate, Field(description="Dropout on the classifier's inputs."), Setting(OPTIMISER)
    ] = 0.0
    attention_dropout: Annotated[
        Rate,
        Field(description="Dropout on the attention weights of a one-query read-out."),
        Setting(OPTIMISER),
    ] = 0.0
    class_balance: Annotated[
        Rate,
        Field(description="beta of class-balanced weights (arXiv 1901.05555; 0 = off)."),
        Setting(OPTIMISER),
    ] = 0.0
    logit_adjust: Annotated[
        float,
        Field(ge=0, description="tau of logit adjustment (arXiv 2007.07314; 0 = off)."),
        Setting(OPTIMISER),
    ] = 0.0


class DataConfig(FrozenConfig):
    """What all probes of one pass over the data share."""

    epochs: Annotated[
        int, Field(ge=1, description="Passes over the training clips."), Setting()
    ] = 60
    steps: int | None = Field(default=None, ge=1)
    """In place of epochs: the whole number of them that comes nearest to this many steps, so that
    small and large draws of the training clips are trained equally long."""
    batch_size: Annotated[int, Field(ge=1, description="Samples per step."), Setting()] = 64
    data_seed: Annotated[
        int,
        Field(ge=0, description="Seed of clip order, crops, views, mixup and token dropout."),
        Setting(MEMORY),
    ] = 0
    mixup: Annotated[
        float,
        Field(
            ge=0,
            description="alpha of mixup between two clips' tokens (arXiv 1710.09412; 0 = off).",
        ),
        Setting(MEMORY),
    ] = 0.0
    token_dropout: Annotated[
        Rate, Field(description="Share of the tokens zeroed at each step."), Setting(MEMORY)
    ] = 0.0
    accumulate: Annotated[
        int,
        Field(
            ge=1,
            description="Parts that a batch is computed in, one after another: less memory, the "
            "same gradient.",
        ),
        Setting(MEMORY),
    ] = 1
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Field(description="Type of products with tokens; all else stays float32."),
        Setting(MEMORY),
    ] = "float32"

    @model_validator(mode="after")
    def _parts_are_equal(self) -> "DataConfig":
        if self.batch_size % self.accumulate:
            raise UsageError(
                f"--accumulate {self.accumulate} does not divide --batch-size {self.batch_size}; "
                "take a divisor, e.g. 2"
            )
        return self

    def epochs_of(self, samples: int) -> int:
        """Epochs to train if one epoch has `samples` samples."""
        if self.steps is None:
            return self.epochs
        return max(1, round(self.steps / self.steps_of(samples)))

    def steps_of(self, samples: int) -> int:
        """Steps of an epoch of `samples` samples."""
        return -(-samples // self.batch_size)
