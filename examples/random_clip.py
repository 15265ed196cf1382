"""A small CLIP of random weights: texts for heads that need some, where no real tower is at hand.

    python -m stepcli.examples.random_clip random-clip

Its embeddings know nothing: to a head they are one fixed code a class. So heads that are trained
(X-CLIP's, ASU-style) can be shown to learn on the bundled clips, and zero-shot cannot beat chance.
Its tokenizer knows single characters.
"""

import math
import sys
from pathlib import Path

import torch

WIDTH = 64


def make_random_clip(folder: Path, seed: int = 0) -> None:
    """Write model, tokenizer and image processor to a folder; the same for the same seed."""
    import transformers

    characters = [chr(code) for code in range(33, 127)]
    words = [*characters, *(f"{c}</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    tower = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": WIDTH,
    }
    text = {
        "vocab_size": len(words),
        "max_position_embeddings": 48,
        "bos_token_id": len(words) - 2,
        "eos_token_id": len(words) - 1,
        "pad_token_id": len(words) - 1,
    }
    config = transformers.CLIPConfig(
        text_config=tower | text,
        vision_config=tower | {"image_size": 64, "patch_size": 16},
        projection_dim=WIDTH,
    )
    torch.manual_seed(seed)
    model = transformers.CLIPModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Far from the usual small start, at which all texts would get the same embedding.
            if parameter.ndim > 1:
                parameter.normal_(std=2 / parameter.shape[1] ** 0.5)
        # As in CLIP's own checkpoints.
        model.logit_scale.fill_(math.log(100))
    model.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(words)}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    size = {"shortest_edge": 64}
    crop = {"height": 64, "width": 64}
    transformers.CLIPImageProcessorPil(size=size, crop_size=crop).save_pretrained(folder)


if __name__ == "__main__":
    make_random_clip(Path(sys.argv[1]))
