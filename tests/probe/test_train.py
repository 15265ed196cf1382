"""Training in a bank is training alone: optimiser, schedule, loss, data order."""

import pytest
import torch
from torch import Generator

from stepcli.cache.store import Store
from stepcli.probe.bank import stack
from stepcli.probe.config import Pass, Recipe, RunConfig, TaskConfig
from stepcli.probe.data import Resident, layout_of
from stepcli.probe.optim import BankAdamW, rate_factor
from stepcli.probe.registry import methods
from stepcli.probe.splits import labelled_clips
from stepcli.probe.tasks import Task, make_task
from stepcli.probe.tokens import TokenBatch, TokenLayout
from stepcli.probe.train import Trained, smoothed_cross_entropy, train

CPU = torch.device("cpu")
ARROW = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)
RECIPES = (
    Recipe(lr=1e-3, weight_decay=0.5),
    Recipe(lr=1e-3, weight_decay=0.5),
    Recipe(lr=1e-2, weight_decay=0.0, beta1=0.8, beta2=0.95, warmup=0.5, label_smoothing=0.2),
    Recipe(lr=3e-3, clip_norm=0.05),
)


def run(store: Store, configs: list[RunConfig]) -> tuple[Task, list[Trained]]:
    task = make_task(configs[0].task, store.spec, labelled_clips(store, "train", "test"))
    features = Resident(store, task.clips, CPU, CPU)
    layout = layout_of(store, task)
    return task, train(features, layout, task, configs, lambda loss: None)


def config(method: str, recipe: Recipe, seed: int, epochs: int = 25) -> RunConfig:
    options = methods().get(method).defaults()
    shared = Pass(epochs=epochs, batch_size=8)
    return RunConfig(
        method=method, options=options, task=ARROW, recipe=recipe, shared=shared, seed=seed
    )


@pytest.mark.parametrize("name", methods().names())
def test_a_member_ends_as_it_would_alone(name: str, store: Store) -> None:
    """Fifty steps with another rate, decay, smoothing and seed each: weights within 1e-4."""
    configs = [config(name, recipe, seed) for seed, recipe in enumerate(RECIPES)]
    task, together = run(store, configs)
    assert 25 * -(-task.samples_per_epoch // 8) == 50
    for index, alone_config in enumerate(configs):
        _, (alone,) = run(store, [alone_config])
        assert together[index].config == alone_config
        for (key, mine), theirs in zip(
            together[index].probe.state_dict().items(),
            alone.probe.state_dict().values(),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4, msg=key)
        assert torch.equal(together[index].logits.argmax(1), alone.logits.argmax(1))


def test_methods_share_a_pass_without_touching_each_other(store: Store) -> None:
    names = ["linear", "step", "first-frame"]
    configs = [config(name, Recipe(), 0, epochs=3) for name in names]
    _, together = run(store, configs)
    assert [probe.config.method for probe in together] == names
    for index, alone_config in enumerate(configs):
        _, (alone,) = run(store, [alone_config])
        torch.testing.assert_close(together[index].logits, alone.logits, rtol=0, atol=1e-5)


def test_step_learns_the_order_that_linear_cannot_see(store: Store) -> None:
    recipe = Recipe(lr=1e-2)
    task, (step, linear) = run(
        store, [config(name, recipe, 0, epochs=100) for name in ("step", "linear")]
    )
    labels = torch.from_numpy(task.test.label)
    assert (step.logits.argmax(1) == labels).float().mean() == 1.0
    assert (linear.logits.argmax(1) == labels).float().mean() == 0.5
    assert step.losses[-1] < step.losses[0] / 2
    assert len(step.losses) == 100
    assert step.seconds > 0


def test_the_optimizer_is_torchs_adamw_member_by_member() -> None:
    layout = TokenLayout.of(frames=3, tokens=2, dim=16)
    info = methods().get("step")
    probes = [
        info.build(layout, 4, info.options(), Generator().manual_seed(seed)) for seed in range(4)
    ]
    bank = stack(probes)
    optimizer = BankAdamW(bank, RECIPES, steps=20)
    textbook = []
    for probe, recipe in zip(probes, RECIPES, strict=True):
        groups = [
            {
                "params": [p for n, p in probe.named_parameters() if probe.decays(n) is decays],
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for decays in (True, False)
        ]
        betas = (recipe.beta1, recipe.beta2)
        textbook.append(torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, fused=False))
    generator = Generator().manual_seed(0)
    for step in range(20):
        batch = TokenBatch(torch.randn(4, 3, 2, 16, generator=generator))
        torch.autograd.backward(bank(batch).square().sum())
        optimizer.step()
        for probe, recipe, single in zip(probes, RECIPES, textbook, strict=True):
            for group in single.param_groups:
                group["lr"] = recipe.lr * rate_factor(step, 20, recipe.warmup)
            single.zero_grad()
            torch.autograd.backward(probe(batch).square().sum())
            if recipe.clip_norm:
                torch.nn.utils.clip_grad_norm_(probe.parameters(), recipe.clip_norm)
            single.step()
    for index, probe in enumerate(probes):
        for mine, theirs in zip(bank.member(index).parameters(), probe.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-6)


def test_only_matrices_decay() -> None:
    info = methods().get("self-attention")
    probe = info.build(
        TokenLayout.of(2, 2, 16), 3, info.options(pe="learned", patch_pe=True), Generator()
    )
    decaying = {name for name, _ in probe.named_parameters() if probe.decays(name)}
    assert {name.rpartition(".")[2] for name in decaying} == {"weight"}
    assert not any("norm" in name for name in decaying)
    assert "head.weight" in decaying


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[99] < 1e-3
    assert rate_factor(0, 1, 0.0) == 1.0


def test_smoothing_is_torchs() -> None:
    generator = Generator().manual_seed(0)
    logits = torch.randn(2, 5, 4, generator=generator)
    labels = torch.tensor([0, 3, 1, 1, 2])
    losses = smoothed_cross_entropy(logits, labels, torch.tensor([0.0, 0.3]))
    for member, smoothing in enumerate((0.0, 0.3)):
        want = torch.nn.functional.cross_entropy(logits[member], labels, label_smoothing=smoothing)
        torch.testing.assert_close(losses[member], want)


def test_configs_of_other_passes_do_not_mix(store: Store) -> None:
    with pytest.raises(ValueError, match="one pass"):
        run(store, [config("linear", Recipe(), 0, epochs=1), config("linear", Recipe(), 0, 2)])
