import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tinytale.config import TrainConfig, override
from tinytale.errors import TaleError
from tinytale.training import loop
from tinytale.training.loop import (
    CompiledOrEager,
    GivenUpError,
    TrainState,
    dev_loss,
    dropout_seed,
    initial_state,
    train_step,
    training_steps,
)
from tinytale.training.loss import StepLoss, token_nats

TINY = {
    "model": {"vocab_size": 17, "context_length": 8, "layers": 2, "heads": 2, "width": 16},
    "data": {"batch_size": 16},
    "run": {"precision": "float32", "device": "cpu"},
}


def state_of(max_steps: int = 20, **changes: dict) -> TrainState:
    return initial_state(override(override(TrainConfig(), TINY), changes), max_steps)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    tokens_BT = torch.randint(17, (16, 9), generator=torch.Generator().manual_seed(seed))
    return tokens_BT[:, :-1], tokens_BT[:, 1:]


def gradients_of_a_step(state: TrainState, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """What the optimiser meets."""
    met = {}
    monkeypatch.setattr(
        state.optimiser, "step", lambda: met.update({n: p.grad.clone() for n, p in state.model.named_parameters()})
    )
    train_step(state, *batch())
    return met


@pytest.mark.parametrize("clip_norm", [0.0, 0.01])
@pytest.mark.parametrize("micro_batch_size", [8, 4, 1])
def test_accumulated_gradients_are_those_of_the_whole_batch(micro_batch_size: int, clip_norm: float, monkeypatch):
    settings = {"optimiser": {"clip_norm": clip_norm}}
    whole = gradients_of_a_step(state_of(**settings), monkeypatch)
    split = gradients_of_a_step(state_of(data={"micro_batch_size": micro_batch_size}, **settings), monkeypatch)
    scale = math.sqrt(sum(gradient.square().sum().item() for gradient in whole.values()))
    for name, gradient in whole.items():
        assert (gradient - split[name]).norm() <= 1e-6 * max(gradient.norm().item(), 1e-3 * scale), name


def test_a_record_holds_the_mean_loss_the_norm_before_clipping_and_the_rate(monkeypatch):
    state = state_of(data={"micro_batch_size": 4}, optimiser={"clip_norm": 0.0, "warmup_steps": 3})
    expected = token_nats(state.model(batch()[0]), batch()[1]).mean()
    record = train_step(state, *batch())
    torch.testing.assert_close(record.loss, expected.detach())
    assert (record.step, record.rate) == (1, 1 / 4)
    clipped = state_of(optimiser={"clip_norm": 0.01})
    gradients = gradients_of_a_step(clipped, monkeypatch)
    assert math.sqrt(sum(g.square().sum().item() for g in gradients.values())) == pytest.approx(0.01, rel=1e-4)
    torch.testing.assert_close(train_step(clipped, *batch()).gradient_norm, record.gradient_norm)


def test_a_model_learns_a_batch_by_heart():
    state = state_of(60, optimiser={"learning_rate": 0.02, "warmup_steps": 5})
    losses = [train_step(state, *batch()).loss.item() for _ in range(60)]
    assert losses[0] == pytest.approx(math.log(17), rel=0.05)
    assert losses[-1] < 0.5


def snapshot(state: TrainState) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in {**state.model.state_dict(), **state.optimiser.state()}.items()}


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_an_update_that_is_not_finite_is_left_out(where: str, value: float, algorithm: str):
    state = state_of(optimiser={"algorithm": algorithm})
    train_step(state, *batch())
    before = snapshot(state)
    good = state.loss
    if where == "loss":
        state.loss = lambda *arguments: StepLoss(*(part + value for part in good(*arguments)))
    else:
        hook = state.model.blocks[0].norm1.bias_C.register_hook(lambda gradient: gradient * value)
    record = train_step(state, *batch())
    after = snapshot(state)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not math.isfinite(record.loss.item() + record.gradient_norm.item())
    progress = state.progress
    assert (progress.step, progress.skipped, progress.skips_in_a_row) == (2, 1, 1)

    if where == "loss":
        state.loss = good
    else:
        hook.remove()
    assert math.isfinite(train_step(state, *batch()).gradient_norm.item())
    assert state.progress.skipped == 1 and state.progress.skips_in_a_row == 0


def test_every_rollback_halves_the_rate():
    state = state_of(optimiser={"warmup_steps": 0, "schedule": "constant"})
    state.progress.rollbacks = 2
    assert train_step(state, *batch()).rate == 0.25
    assert state.optimiser.parts[0].param_groups[0]["lr"] == 0.25 * state.config.optimiser.learning_rate


class Numbered:
    """Batches that hold their own step."""

    def batch_at(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((2, 8), step), np.full((2, 8), step)


def test_steps_take_their_own_batches_from_wherever_they_begin(monkeypatch):
    state, seen = state_of(5), []
    monkeypatch.setattr(loop, "train_step", lambda state, inputs, *_: seen.append(int(inputs[0, 0])))
    state.progress.step = 3
    for _ in training_steps(state, Numbered()):
        state.progress.step += 1
    assert seen == [3, 4]


def test_every_micro_batch_draws_its_own_dropout(monkeypatch):
    asked = []
    monkeypatch.setattr(loop, "dropout_seed", lambda *place: asked.append(place) or 0)
    state = state_of(model={"dropout": 0.1}, data={"micro_batch_size": 8}, run={"seed": 5})
    train_step(state, *batch())
    train_step(state, *batch())
    assert asked == [(5, 0, 0), (5, 0, 1), (5, 1, 0), (5, 1, 1)]


def test_dropout_is_drawn_anew_in_every_step_and_micro_batch_but_alike_every_time():
    seeds = [dropout_seed(seed, step, micro) for seed in (0, 1) for step in range(9) for micro in range(4)]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= 0 and max(seeds) < 2**63
    assert dropout_seed(0, 5, 1) == dropout_seed(0, 5, 1)


@pytest.mark.parametrize("limit", [2, 8, 9, 60])
def test_the_dev_loss_scores_every_target_once_and_without_dropout(limit: int):
    state = state_of(model={"dropout": 0.5}, data={"batch_size": 3})
    state.model.train()
    stream_N = np.random.default_rng(0).integers(17, size=limit)
    score = dev_loss(state, stream_N)
    assert state.model.training
    model, nats = state.model.eval(), 0.0
    for start in range(0, limit - 1, 8):
        piece = torch.from_numpy(stream_N[start : start + 9])[None]
        nats += token_nats(model(piece[:, :-1]), piece[:, 1:]).sum().item()
    assert score.tokens == limit - 1
    assert score.nats == pytest.approx(nats, rel=1e-5)


def test_compile_falls_back_with_one_line_that_says_so(monkeypatch, capsys):
    def broken(function, **_):
        def call(*_):
            raise RuntimeError("no C++ compiler found\nmore lines")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    double = CompiledOrEager(lambda x: 2 * x)
    assert double(torch.tensor(2)) == double(torch.tensor(2)) == 4
    said = capsys.readouterr().err.splitlines()
    assert said == ["torch.compile does not work here (no C++ compiler found); going on without it"]


def test_compile_is_used_where_it_works(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda *arguments: torch.ones(()))
    assert CompiledOrEager(lambda: torch.zeros(()))() == 1


@pytest.mark.parametrize("error", [TaleError("my own"), MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_what_is_not_the_compilers_fault_is_raised(error: Exception, monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    calls = []

    def wrong() -> torch.Tensor:
        calls.append(1)
        raise error

    careful = CompiledOrEager(wrong)
    for number in (1, 2):
        with pytest.raises(type(error)):
            careful()
        assert len(calls) == number
    assert capsys.readouterr().err == ""


def test_what_fails_in_the_midst_of_a_run_is_raised_and_changes_no_number_path(monkeypatch, capsys):
    answers = iter([1, RuntimeError("at step 40,000"), 3])

    def compiled() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(torch, "compile", lambda function, **_: compiled)
    careful = CompiledOrEager(lambda: 0)
    assert careful() == 1
    with pytest.raises(RuntimeError, match="40,000"):
        careful()
    assert careful() == 3 and capsys.readouterr().err == ""


def test_a_batch_of_tokens_that_there_are_none_of_is_one_line():
    class Altered:
        def batch_at(self, step: int) -> tuple[np.ndarray, np.ndarray]:
            return np.full((2, 8), 3), np.full((2, 8), 17)

    with pytest.raises(TaleError, match="batch of step 1 holds tokens beyond the vocabulary: a train shard in"):
        next(training_steps(state_of(), Altered()))


def test_a_step_that_is_given_up_between_micro_batches_changes_nothing():
    state = state_of(data={"micro_batch_size": 4}, model={"dropout": 0.3})
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    asked = iter([False, True])
    with pytest.raises(GivenUpError):
        train_step(state, *batch(), lambda: next(asked))
    assert state.progress.step == 0 and next(asked, "asked twice") == "asked twice"
    assert all(torch.equal(before[name], tensor) for name, tensor in state.model.state_dict().items())
    assert all(parameter.grad is None for parameter in state.model.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_and_gradients_stay_float32_in_any_precision(precision: str, monkeypatch):
    state = replace(state_of(), precision=precision)
    assert {gradient.dtype for gradient in gradients_of_a_step(state, monkeypatch).values()} == {torch.float32}
    assert {parameter.dtype for parameter in state.model.parameters()} == {torch.float32}


def test_the_seed_alone_decides_the_first_weights():
    def weights(seed: int) -> torch.Tensor:
        return state_of(run={"seed": seed}).model.embedding.weight_VC

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))
