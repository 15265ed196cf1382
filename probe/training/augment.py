"""What is done to a batch of tokens in training, the same for all probes of a pass."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from stepcli.probe.config import DataConfig
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.training.loss import Folds, Targets
from stepcli.runtime.device_copies import to_device


def augmented(
    batch: TokenBatch,
    labels: Tensor,
    data: DataConfig,
    place: tuple[int, ...],
    folds: Folds | None = None,
) -> tuple[TokenBatch, Targets]:
    """Mix clips and drop tokens as the pass says.

    Args:
        batch: As it was read.
        labels: [B].
        data: The pass's settings.
        place: Epoch, step and part: with data_seed they determine what is drawn, so a killed sweep
            continues as it would have.
        folds: Of the samples, where members hold one out.
    """
    targets = Targets(labels, folds=folds)
    if not data.mixup and not data.token_dropout:
        return batch, targets
    random = np.random.default_rng((data.data_seed, 7, *place))
    tokens = batch.every_layer.to(batch.dtype)
    mask = batch.frame_mask
    if data.mixup:
        share = float(random.beta(data.mixup, data.mixup))
        order = to_device(torch.from_numpy(random.permutation(len(labels))), labels.device)
        tokens = share * tokens + (1 - share) * tokens[order]
        mixed = None if folds is None else replace(folds, others=folds.of[order])
        theirs: float | Tensor = share
        if labels.device.type == "cuda":  # where a captured step reads it
            theirs = to_device(torch.tensor(share, dtype=torch.float64), labels.device)
        targets = Targets(labels, labels[order], theirs, mixed)
        # A frame that only one of the two clips has is shown, faint: its padding repeats a frame.
        mask = None if mask is None else mask | mask[order]
    if data.token_dropout:
        clips, frames, _, places, _ = tokens.shape
        survivors = random.random((clips, frames, 1, places, 1)) >= data.token_dropout
        tokens = tokens * to_device(torch.from_numpy(survivors), tokens.device)
    return batch.with_tokens(tokens, mask), targets
