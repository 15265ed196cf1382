"""What single methods compute, held to torch's own layers and to sums by hand."""

import torch
from torch import Generator, Tensor

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.frames_linear import cosines
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.methods.spectral import filtered, waves
from stepcli.probe.nn.bank import Probe


def build(name: str, layout: TokenLayout, **options: object) -> Probe:
    """A probe of one member, six classes."""
    info = methods().get(name)
    return info.build(layout, 6, parse_options(info, options), Generator().manual_seed(0))


def test_recurrent_heads_are_torchs(tokens: Tensor, layout: TokenLayout) -> None:
    for name, textbook in (("gru", torch.nn.GRU), ("lstm", torch.nn.LSTM)):
        probe = build(name, layout, hidden=8)
        cell = textbook(32, 8, batch_first=True)
        with torch.no_grad():
            cell.weight_ih_l0.copy_(probe.get_parameter("from_input.weight")[0])
            cell.bias_ih_l0.copy_(probe.get_parameter("from_input.bias")[0])
            cell.weight_hh_l0.copy_(probe.get_parameter("from_state.weight")[0])
            cell.bias_hh_l0.copy_(probe.get_parameter("from_state.bias")[0])
        batch = TokenBatch(tokens)
        states, _ = cell(batch.frame_means(layout, "all", normalized=True))
        weight, bias = (probe.get_parameter(f"head.{part}")[0] for part in ("weight", "bias"))
        want = states[:, -1] @ weight.T + bias
        torch.testing.assert_close(probe(batch)[0], want, rtol=1e-5, atol=1e-6)


def test_transf_cls_is_torchs_encoder_read_at_its_cls(tokens: Tensor, layout: TokenLayout) -> None:
    """As ActionCLIP has it: torch's post-norm layers of 2048, over the frames behind a CLS."""
    probe = build(
        *("temporal-transformer", layout),
        kind="transf-cls",
        width=0,
        heads=4,
        layers=2,
        norm_projected=False,
    )
    shake = Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=shake) * 0.1)
    weights = {name: tensor[0] for name, tensor in probe.state_dict().items()}
    mask = torch.tensor([[True, True, False, True]] * 5)
    frames = TokenBatch(tokens).frame_means(layout, "all", normalized=True)
    z = torch.cat((weights["cls"].expand(5, 1, -1), frames), dim=1) + weights["encoding"]
    unseen = torch.cat((torch.zeros(5, 1, dtype=torch.bool), ~mask), dim=1)
    for block in ("blocks.0.", "blocks.1."):
        layer = torch.nn.TransformerEncoderLayer(32, 4, 2048, dropout=0.0, batch_first=True)
        projections = [f"{block}attention.{name}" for name in ("query", "key", "value")]
        own = {
            f"self_attn.in_proj_{kind}": torch.cat([weights[f"{p}.{kind}"] for p in projections])
            for kind in ("weight", "bias")
        }
        for theirs, ours in (
            ("self_attn.out_proj", "attention.out"),
            ("linear1", "feed_forward.up"),
            ("linear2", "feed_forward.down"),
            ("norm1", "norm1"),
            ("norm2", "norm2"),
        ):
            for kind in ("weight", "bias"):
                own[f"{theirs}.{kind}"] = weights[f"{block}{ours}.{kind}"]
        layer.load_state_dict(own)
        z = layer(z, src_key_padding_mask=unseen)
    row = torch.nn.functional.layer_norm(
        z[:, 0], (32,), weights["norm.weight"], weights["norm.bias"]
    )
    want = row @ weights["head.weight"].T + weights["head.bias"]
    torch.testing.assert_close(probe(TokenBatch(tokens, mask))[0], want, rtol=1e-5, atol=1e-5)


def test_cosine_coefficients_are_orthonormal_and_begin_with_the_mean() -> None:
    rows = cosines(5, 8)
    torch.testing.assert_close(rows @ rows.T, torch.eye(5), rtol=0, atol=1e-6)
    torch.testing.assert_close(rows[0], torch.full((8,), 8**-0.5))
    assert not cosines(3, 1)[1:].any()


def test_halves_are_halves_of_what_is_there(tokens: Tensor, layout: TokenLayout) -> None:
    """Three frames of four: the middle one is in both halves."""
    probe = build("early-late", layout)
    mask = torch.tensor([[True, False, True, True]] * 5)
    frames = TokenBatch(tokens).frame_means(layout, "all", normalized=True)
    halves = torch.cat((frames[:, [0, 2]].mean(dim=1), frames[:, [2, 3]].mean(dim=1)), dim=1)
    weight, bias = (probe.get_parameter(f"head.{part}")[0] for part in ("weight", "bias"))
    torch.testing.assert_close(probe(TokenBatch(tokens, mask))[0], halves @ weight.T + bias)


def test_a_spectral_filter_is_torchs_fft_of_frames_and_zeros() -> None:
    for frames in (1, 2, 5, 8):
        generator = Generator().manual_seed(frames)
        x = torch.randn(3, 2, frames, 6, generator=generator, dtype=torch.float64)
        gains = torch.randn(3, 2, frames + 1, 6, generator=generator, dtype=torch.float64)
        spectrum = torch.fft.rfft(x, n=2 * frames, dim=2)
        spectrum = spectrum * torch.complex(gains[:, 0], gains[:, 1])[:, None]
        want = torch.fft.irfft(spectrum, n=2 * frames, dim=2)[:, :, :frames]
        got = filtered(x, gains, waves(frames))
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
