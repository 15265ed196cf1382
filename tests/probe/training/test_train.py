"""Training in a bank is training alone: optimiser, schedule, loss, data order."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from small_methods import small_options
from torch import Generator

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, OptimConfig, RunConfig, TaskConfig
from stepcli.probe.data.features import Resident, task_layout
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.tasks import Task
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods
from stepcli.probe.methods.step import Step
from stepcli.probe.nn.bank import stack
from stepcli.probe.training import banks as training_banks
from stepcli.probe.training.banks import make_banks
from stepcli.probe.training.memory import OutOfMemory
from stepcli.probe.training.optim import BankAdamW, rate_factor
from stepcli.probe.training.train import Trained, train
from stepcli.runtime.errors import UsageError

CPU = torch.device("cpu")
ARROW = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)
RECIPES = (
    OptimConfig(lr=1e-3, weight_decay=0.5),
    OptimConfig(lr=1e-3, weight_decay=0.5),
    OptimConfig(lr=1e-2, weight_decay=0.0, beta1=0.8, beta2=0.95, warmup=0.5, label_smoothing=0.2),
    OptimConfig(lr=3e-3, clip_norm=0.05),
)


def run(
    store: Store, configs: list[RunConfig], say: Callable[[str], None] = print
) -> tuple[Task, list[Trained]]:
    task = make_task(configs[0].task, store, labelled_clips(store, "train", "test"))
    features = Resident(store, task.clips, CPU, CPU)
    layout = task_layout(store, task)
    return task, train(features, layout, task, configs, lambda report: None, say=say)


def config(
    method: str, recipe: OptimConfig, seed: int, epochs: int = 15, **shared: object
) -> RunConfig:
    options = small_options(methods().get(method))
    each = DataConfig.model_validate({"epochs": epochs, "batch_size": 8} | shared)
    return RunConfig(
        method=method, options=options, task=ARROW, recipe=recipe, shared=each, seed=seed
    )


def assert_equal(mine: Trained, theirs: Trained) -> None:
    """Weights within 1e-4, the same answers."""
    states = zip(mine.probe.state_dict().items(), theirs.probe.state_dict().values(), strict=True)
    for (key, tensor), other in states:
        if key.endswith("attention.key.bias"):
            # No output depends on it. Unfolded, its gradient is rounding noise, and Adam scales
            # noise up to whole steps.
            continue
        torch.testing.assert_close(tensor, other, rtol=0, atol=1e-4, msg=key)
    assert torch.equal(mine.logits.argmax(1), theirs.logits.argmax(1))


@pytest.mark.parametrize("name", methods().names())
def test_a_member_ends_as_it_would_alone(name: str, rich: Store) -> None:
    """Thirty steps with another rate, decay, smoothing and seed each: weights within 1e-4.

    The first member is company of the same recipe and another seed.
    """
    configs = [config(name, recipe, seed) for seed, recipe in enumerate(RECIPES)]
    task, together = run(rich, configs)
    assert 15 * -(-task.samples_per_epoch // 8) == 30
    for mine, alone_config in zip(together[1:], configs[1:], strict=True):
        _, (alone,) = run(rich, [alone_config])
        assert mine.config == alone_config
        assert_equal(mine, alone)


DROPPING = (
    OptimConfig(lr=1e-3, dropout=0.3, attention_dropout=0.2),
    OptimConfig(lr=1e-2, dropout=0.5),
    OptimConfig(lr=3e-3, attention_dropout=0.5, class_balance=0.9, logit_adjust=1.0),
    OptimConfig(lr=3e-3),
)


@pytest.mark.parametrize("name", ["step", "attentive", "self-attention"])
def test_a_member_drops_what_it_would_drop_alone(name: str, rich: Store) -> None:
    configs = [config(name, recipe, seed, epochs=5) for seed, recipe in enumerate(DROPPING)]
    _, together = run(rich, configs)
    for index, alone_config in enumerate(configs):
        _, (alone,) = run(rich, [alone_config])
        assert_equal(together[index], alone)
    plain = config(name, OptimConfig(lr=1e-3), 0, epochs=5)
    _, (undropped,) = run(rich, [plain])
    assert not torch.allclose(undropped.logits, together[0].logits, atol=1e-3)


def test_dropout_where_there_is_no_place_for_it_is_refused(rich: Store) -> None:
    with pytest.raises(UsageError, match="linear has no one-query attention"):
        run(rich, [config("linear", OptimConfig(attention_dropout=0.1), 0, epochs=1)])


@pytest.mark.parametrize(
    "shared",
    [
        {"mixup": 0.4},
        {"token_dropout": 0.3},
        {"precision": "bfloat16"},
        {"mixup": 0.2, "token_dropout": 0.2, "precision": "bfloat16", "accumulate": 2},
    ],
)
def test_what_a_pass_shares_is_the_same_in_any_bank(shared: dict[str, object], rich: Store) -> None:
    configs = [config("step", RECIPES[0], seed, epochs=3, **shared) for seed in range(3)]
    _, together = run(rich, configs)
    _, (alone,) = run(rich, [configs[1]])
    assert_equal(together[1], alone)
    _, (plain,) = run(rich, [config("step", RECIPES[0], 1, epochs=3)])
    assert not torch.equal(plain.logits, alone.logits)


def test_accumulated_parts_are_the_whole_batch(rich: Store) -> None:
    recipe = OptimConfig(lr=1e-3, class_balance=0.9)
    _, (whole,) = run(rich, [config("step", recipe, 0, epochs=5)])
    _, (parts,) = run(rich, [config("step", recipe, 0, epochs=5, accumulate=4)])
    assert_equal(whole, parts)
    assert whole.losses == pytest.approx(parts.losses, abs=1e-5)


def test_a_bank_that_runs_out_of_memory_is_halved_and_ends_the_same(
    rich: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own allocator refuses: a probe asks for more than any machine has."""
    configs = [config("step", OptimConfig(lr=1e-3), seed, epochs=3) for seed in range(4)]
    _, want = run(rich, configs)
    forward = Step.forward

    def greedy(self: Step, batch: TokenBatch) -> torch.Tensor:
        if self.training and self.members > 1:
            torch.empty(1 << 60)
        return forward(self, batch)

    monkeypatch.setattr(Step, "forward", greedy)
    said: list[str] = []
    _, got = run(rich, configs, said.append)
    for mine, theirs in zip(got, want, strict=True):
        assert_equal(mine, theirs)
        assert mine.losses == pytest.approx(theirs.losses, abs=1e-5)
    assert [line.split(":")[0] for line in said] == [
        "out of memory in a step of 4 x step",
        *["out of memory in a step of 2 x step"] * 2,
    ]
    monkeypatch.setattr(Step, "forward", lambda self, batch: torch.empty(1 << 60))
    with pytest.raises(OutOfMemory, match=r"a step of step did not fit .* take a smaller"):
        run(rich, configs[:1])


def test_a_large_bank_is_worked_on_in_a_part_a_core(
    rich: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [config("step", OptimConfig(lr=1e-3), seed, epochs=2) for seed in range(9)]
    _, want = run(rich, configs)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    _, got = run(rich, configs)
    for mine, theirs in zip(got, want, strict=True):
        assert mine.config == theirs.config
        assert_equal(mine, theirs)


def test_a_few_large_probes_are_divided_a_few_small_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs = [config("step", OptimConfig(), seed, epochs=1) for seed in range(3)]
    layout, counts = TokenLayout.of(frames=2, tokens=2, dim=16), torch.ones(4)

    def sizes(cores: int) -> list[int]:
        banks = make_banks(configs, layout, 10, counts, CPU, cores)
        assert sorted(place for bank in banks for place in bank.places) == [0, 1, 2]
        return [len(bank.configs) for bank in banks]

    assert sizes(2) == [3]
    monkeypatch.setattr(training_banks, "LARGE_PROBE", 1000)
    assert sizes(1) == [3]
    assert sizes(2) == [2, 1]
    assert sizes(8) == [1, 1, 1]


def test_methods_share_a_pass_without_touching_each_other(store: Store) -> None:
    names = ["linear", "step", "first-frame"]
    configs = [config(name, OptimConfig(), 0, epochs=3) for name in names]
    _, together = run(store, configs)
    assert [probe.config.method for probe in together] == names
    for index, alone_config in enumerate(configs):
        _, (alone,) = run(store, [alone_config])
        torch.testing.assert_close(together[index].logits, alone.logits, rtol=0, atol=1e-5)


def test_step_learns_the_order_that_linear_cannot_see(store: Store) -> None:
    recipe = OptimConfig(lr=1e-2)
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


def test_configs_of_other_passes_do_not_mix(store: Store) -> None:
    with pytest.raises(ValueError, match="one pass"):
        run(
            store,
            [config("linear", OptimConfig(), 0, epochs=1), config("linear", OptimConfig(), 0, 2)],
        )


def test_training_does_not_import_torchs_compiler() -> None:
    """Two seconds of every command that trains; torch.optim and dispatch modes import it."""
    script = """
import sys, torch
from stepcli.probe.config import RunConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.training.banks import make_banks
from stepcli.probe.training.loss import Targets
from stepcli.probe.training.products import multiply_adds
config, layout = RunConfig(method="step", options={}), TokenLayout.of(2, 2, 16)
(bank,) = make_banks([config], layout, 2, torch.ones(3), torch.device("cpu"), 1)
batch = TokenBatch(torch.randn(4, 2, 2, 16))
bank.step([(batch, Targets(torch.tensor([0, 1, 2, 0])))])
assert multiply_adds(bank, TokenBatch(torch.randn(1, 2, 2, 16))) > 0
print("torch._dynamo" in sys.modules)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
