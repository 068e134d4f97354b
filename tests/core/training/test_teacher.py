"""A teacher: training follows its predictions too, and writes down the same measure as without one."""

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tinytale.addons.dry_run import rehearsal
from tinytale.addons.dry_run.rehearsal import rehearse
from tinytale.config import ModelConfig, RunConfig, TrainConfig, override
from tinytale.data.tokenizer import load_tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder
from tinytale.training.interrupt import Interrupt
from tinytale.training.loop import TrainState, initial_state, train_step
from tinytale.training.loss import DistilledLoss, plain_loss, token_nats
from tinytale.training.teacher import settle_teacher

SHAPE = ModelConfig(vocab_size=300, context_length=16, layers=1, heads=2, width=32, dropout=0.5)


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    torch.manual_seed(5)
    save_model(tmp_path / "teacher", GPT2(SHAPE), 0, (dataset / "tokenizer.json").read_bytes())
    return tmp_path / "teacher"


@pytest.fixture
def settled(folder: Path, dataset: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """`settled(model={...}, ...)`: a tiny run with a teacher, its digest filled in."""

    def settle(begun: TrainConfig | None = None, **changes: dict) -> TrainConfig:
        tiny = {
            "model": {"vocab_size": 300, "layers": 2, "heads": 2, "width": 16, "context_length": 16},
            "data": {"batch_size": 8},
            "run": {"teacher": str(folder), "precision": "float32", "device": "cpu"},
        }
        config = override(override(TrainConfig(), tiny), changes)
        return settle_teacher(config, RunFolder(tmp_path / "run"), begun, load_tokenizer(dataset))

    return settle


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    tokens_BT = torch.randint(300, (8, 17), generator=torch.Generator().manual_seed(0))
    return tokens_BT[:, :-1], tokens_BT[:, 1:]


def gradients_of_a_step(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    state, met = initial_state(config, 20), {}
    monkeypatch.setattr(
        state.optimiser, "step", lambda: met.update({n: p.grad.clone() for n, p in state.model.named_parameters()})
    )
    train_step(state, *batch())
    return met


class Logits(torch.nn.Module):
    """The same whatever the tokens."""

    def __init__(self):
        super().__init__()
        self.logits_BTV = torch.nn.Parameter(torch.randn(2, 3, 5, dtype=torch.float64))

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        return self.logits_BTV


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_loss_and_gradient_are_those_of_the_formula(weight: float):
    torch.manual_seed(0)
    model, teacher, targets_BT = Logits(), Logits(), torch.randint(5, (2, 3))
    objective, nats = DistilledLoss(teacher, weight)(model, targets_BT, targets_BT)
    objective.backward()
    p_BTV, q_BTV = (one.logits_BTV.detach().softmax(-1) for one in (model, teacher))
    text_BTV = torch.nn.functional.one_hot(targets_BT, 5).double()
    expected = -(text_BTV * p_BTV.log()).sum()
    divergence = (q_BTV * (q_BTV / p_BTV).log()).sum()
    torch.testing.assert_close(nats, expected)
    torch.testing.assert_close(objective, (1 - weight) * expected + weight * divergence)
    torch.testing.assert_close(model.logits_BTV.grad, p_BTV - (1 - weight) * text_BTV - weight * q_BTV)
    assert teacher.logits_BTV.grad is None


def test_who_teaches_itself_alone_learns_nothing():
    model = GPT2(replace(SHAPE, dropout=0.0)).double()
    objective, nats = DistilledLoss(deepcopy(model).eval(), 1.0)(model, *batch())
    objective.backward()
    assert abs(objective.item()) < 1e-9 and nats.item() > 100
    assert max(parameter.grad.abs().max().item() for parameter in model.parameters()) < 1e-12


def test_what_is_written_down_is_the_cross_entropy_as_without_a_teacher(settled: Callable[..., TrainConfig]):
    config = settled(run={"teacher_weight": 0.9})
    state, alone = initial_state(config, 20), initial_state(replace(config, run=RunConfig(device="cpu")), 20)
    record = train_step(replace(state, precision="float32"), *batch())
    assert torch.equal(record.loss, train_step(replace(alone, precision="float32"), *batch()).loss)
    changed = zip(state.model.parameters(), alone.model.parameters(), strict=True)
    assert any(not torch.equal(*pair) for pair in changed)
    torch.testing.assert_close(
        record.loss, token_nats(initial_state(config, 20).model(batch()[0]), batch()[1]).mean().detach()
    )


def test_the_teacher_stays_as_it_is(settled: Callable[..., TrainConfig]):
    state = initial_state(settled(), 20)
    teacher = state.teacher
    assert teacher and not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    before = deepcopy(teacher.state_dict())
    first, second = (state.eager_loss(state.model, *batch()).objective for _ in range(2))
    assert torch.equal(first, second)  # no dropout, though its config has some
    state.model.train()
    train_step(state, *batch())
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


@pytest.mark.parametrize("micro_batch_size", [4, 1])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    micro_batch_size: int, settled: Callable[..., TrainConfig], monkeypatch
):
    whole = gradients_of_a_step(settled(), monkeypatch)
    split = gradients_of_a_step(settled(data={"micro_batch_size": micro_batch_size}), monkeypatch)
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, rtol=1e-4, atol=1e-6)


def test_it_is_compiled_together_with_the_model(settled: Callable[..., TrainConfig], monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: seen.append(function) or function)
    assert initial_state(settled(run={"compile": True}), 20).compiled
    assert isinstance(seen[0], DistilledLoss)
    seen.clear()
    initial_state(TrainConfig(model=SHAPE, run=RunConfig(compile=True, device="cpu")), 20)
    assert seen == [plain_loss]


@pytest.mark.parametrize(
    "changes",
    [{}, {"data": {"micro_batch_size": 2}, "model": {"dropout": 0.3}}, {"run": {"precision": "bfloat16"}}],
    ids=["plain", "accumulation", "bfloat16"],
)
def test_two_halves_are_the_whole_to_the_bit(
    changes: dict, settled: Callable[..., TrainConfig], trainer: Callable, tmp_path: Path
):
    run = settled().run
    taught = {"teacher": run.teacher, "teacher_digest": run.teacher_digest, **changes.pop("run", {})}
    rest = {"optimiser": {"schedule": "constant"}, **changes}
    for name, lengths in (("whole", (8,)), ("halves", (4, 8))):
        for steps in lengths:
            trainer(tmp_path / name, run={**taught, "max_steps": steps}, **rest).train(Interrupt())
    whole, halves = ((tmp_path / name / "checkpoints" / "step-00000008") for name in ("whole", "halves"))
    for name in ("model.safetensors", "optimiser.safetensors"):
        assert (whole / name).read_bytes() == (halves / name).read_bytes()


def test_a_rehearsal_asks_the_teacher_in_every_step(
    settled: Callable[..., TrainConfig], trainer: Callable, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(rehearsal, "MEASURED_SECONDS", 0.01)
    monkeypatch.setattr(rehearsal, "LONGEST_STEP", 1e-9)  # all ways of measuring a step
    run, asked = settled().run, {"teacher": 0, "model": 0}
    made = trainer(tmp_path / "run", run={"teacher": run.teacher, "teacher_digest": run.teacher_digest})
    state: TrainState = made.state

    def count(name: str) -> Callable:
        def hook(module: GPT2, *_: object) -> None:
            asked[name] += torch.is_grad_enabled() or name == "teacher"

        return hook

    assert state.teacher
    state.teacher.register_forward_hook(count("teacher"))
    state.model.register_forward_hook(count("model"))
    rehearse(state, made.batches, made.dev_tokens, tmp_path, made.end_of_text, made.tokenizer_json)
    assert asked["teacher"] == asked["model"] > 3


def test_the_digest_is_kept_and_other_weights_are_refused(
    settled: Callable[..., TrainConfig], folder: Path, dataset: Path
):
    config = settled()
    assert len(config.run.teacher_digest) == 64
    save_model(folder, GPT2(SHAPE), 0, (dataset / "tokenizer.json").read_bytes())
    assert settled(begun=config) == config != settled()
    with pytest.raises(TaleError, match=r"run\.teacher: .* holds other weights now than when this run was begun"):
        initial_state(config, 5, begun=True)


def test_a_teacher_of_other_tokens_is_refused(settled: Callable[..., TrainConfig], folder: Path):
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match="prepared with other tokens than those of"):
        settled()


def test_a_folder_that_is_gone_is_named(settled: Callable[..., TrainConfig], folder: Path):
    config = settled()
    shutil.rmtree(folder)
    for again in (lambda: settled(begun=config), lambda: initial_state(config, 5, begun=True)):
        with pytest.raises(UsageError, match=r"run\.teacher: there is no folder"):
            again()


def test_a_teacher_must_see_a_whole_sequence(settled: Callable[..., TrainConfig]):
    assert settled(model={"context_length": 32}, data={"sequence_length": 16}).sequence_length == 16
    with pytest.raises(UsageError, match=r"has 16 positions, .* have 17 tokens; give --data\.sequence-length 16"):
        settled(model={"context_length": 17})


@pytest.mark.parametrize("place", ["run", "run/model", "x/../run"])
def test_a_run_is_not_its_own_teacher(place: str, settled: Callable[..., TrainConfig], tmp_path: Path):
    with pytest.raises(UsageError, match="is the run itself; expected another"):
        settled(run={"teacher": str(tmp_path / place)})


def test_a_weight_needs_a_teacher(settled: Callable[..., TrainConfig]):
    assert settled(run={"teacher": "", "teacher_digest": "0" * 64}).run.teacher_digest == ""
    with pytest.raises(UsageError, match=r"teacher_weight is 0\.7, but there is no teacher; name one"):
        settled(run={"teacher": "", "teacher_weight": 0.7})
