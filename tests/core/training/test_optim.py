import pytest
import torch

from tinytale.config import ModelConfig, OptimiserConfig
from tinytale.errors import UsageError
from tinytale.model.gpt2 import GPT2
from tinytale.training.optim import Optimiser

CONFIG = ModelConfig(vocab_size=11, context_length=8, layers=2, heads=2, width=8)


def stepped(algorithm, steps: int = 3) -> tuple[GPT2, Optimiser]:
    torch.manual_seed(0)
    model = GPT2(CONFIG)
    optimiser = Optimiser(model, OptimiserConfig(algorithm=algorithm, weight_decay=0.3))
    for _ in range(steps):
        give_gradients(model)
        optimiser.step()
    return model, optimiser


def give_gradients(model: GPT2) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)


def test_matrices_and_embeddings_decay_and_gains_and_biases_do_not():
    model = GPT2(CONFIG)
    optimiser = Optimiser(model, OptimiserConfig(weight_decay=0.3))
    decays = {
        id(p): group["weight_decay"] for part in optimiser.parts for group in part.param_groups for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        assert decays.pop(id(parameter)) == (0.0 if name.endswith(("bias", "bias_C", "gain_C")) else 0.3), name
    assert not decays


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_the_embeddings_may_have_their_own_rate(algorithm):
    model = GPT2(CONFIG)
    config = OptimiserConfig(algorithm=algorithm, learning_rate=1e-3, embedding_learning_rate=1e-2)
    adamw = Optimiser(model, config).parts[-1]
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[p]: group["lr"] for group in adamw.param_groups for p in group["params"]}
    assert {name for name, rate in rates.items() if rate == 1e-2} == {"embedding.weight_VC", "positions.weight_TC"}
    assert set(rates.values()) == {1e-2, 1e-3}


def test_muon_moves_the_matrices_of_the_blocks_and_adamw_the_rest_each_once():
    model, optimiser = GPT2(CONFIG), None
    optimiser = Optimiser(model, OptimiserConfig(algorithm="muon"))
    muon, adamw = ([p for group in part.param_groups for p in group["params"]] for part in optimiser.parts)
    names = {parameter: name for name, parameter in model.named_parameters()}
    kinds = (
        "attention.qkv.weight",
        "attention.output.weight",
        "feed_forward.expand.weight",
        "feed_forward.output.weight",
    )
    assert sorted(names[p] for p in muon) == sorted(f"blocks.{layer}.{kind}" for layer in range(2) for kind in kinds)
    assert sorted(names[p] for p in [*muon, *adamw]) == sorted(names.values())
    parts = {names[p]: group["parts"] for group in optimiser.parts[0].param_groups for p in group["params"]}
    assert {name for name, count in parts.items() if count == 3} == {
        f"blocks.{n}.attention.qkv.weight" for n in range(2)
    }


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_the_state_put_into_another_optimiser_goes_on_to_the_bit(algorithm):
    model, optimiser = stepped(algorithm)
    twin, other = stepped(algorithm, steps=0)
    twin.load_state_dict(model.state_dict())
    other.load_state({name: tensor.clone() for name, tensor in optimiser.state().items()})
    give_gradients(model)
    for parameter, copy in zip(model.parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None
        copy.grad = parameter.grad.clone()
    optimiser.step()
    other.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_the_state_names_every_weight(algorithm):
    model, optimiser = stepped(algorithm)
    names = {key.rsplit("/", 1)[0] for key in optimiser.state()}
    assert names == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_a_rate_of_nothing_moves_nothing_and_the_peak_comes_back(algorithm):
    model, optimiser = stepped(algorithm)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimiser.set_rate(0.0)
    give_gradients(model)
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    optimiser.set_rate(0.5)
    rates = [[group["lr"] for group in part.param_groups] for part in optimiser.parts]
    assert rates == [[peak / 2 for peak in peaks] for peaks in optimiser.peaks]


def test_the_average_follows_the_weights_and_stands_in_for_them_for_a_while():
    torch.manual_seed(0)
    model = GPT2(CONFIG)
    optimiser = Optimiser(model, OptimiserConfig(average_decay=0.75))
    expected: list[torch.Tensor] = []
    for _ in range(4):
        give_gradients(model)
        optimiser.step()
        weights = [parameter.detach().clone() for parameter in model.parameters()]
        expected = [0.75 * a + 0.25 * w for a, w in zip(expected or weights, weights, strict=True)]
    with optimiser.averaged():
        for parameter, average in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.detach(), average)
        assert not torch.equal(model.embedding.weight_VC, weights[0])
    assert all(torch.equal(parameter, own) for parameter, own in zip(model.parameters(), weights, strict=True))


def test_without_an_average_the_weights_stand_for_themselves():
    model, optimiser = stepped("adamw")
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with optimiser.averaged():
        assert all(torch.equal(parameter, own) for parameter, own in zip(model.parameters(), before, strict=True))
    assert not any(key.endswith("/average") for key in optimiser.state())


def test_the_state_without_its_average_is_refused():
    model, optimiser = stepped("adamw")
    averaging = Optimiser(model, OptimiserConfig(average_decay=0.9))
    with pytest.raises(ValueError, match="average is missing"):
        averaging.load_state(optimiser.state())


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_a_decay_in_epochs_forgets_every_weight_in_the_same_time(algorithm):
    config = OptimiserConfig(
        algorithm=algorithm,
        learning_rate=1e-3,
        embedding_learning_rate=1e-2,
        matrix_learning_rate=2e-2,
        decay_epochs=0.5,
        weight_decay=7.0,
        matrix_weight_decay=7.0,
    )
    optimiser = Optimiser(GPT2(CONFIG), config, steps_per_epoch=200)
    groups = [group for part in optimiser.parts for group in part.param_groups]
    times = {1 / (group["lr"] * group["weight_decay"]) for group in groups if group["weight_decay"]}
    assert sorted(times) == pytest.approx([100.0] * len(times))
    assert {group["lr"] for group in groups if not group["weight_decay"]} == {1e-3}  # gains and biases


def test_weights_that_would_forget_at_once_are_refused():
    config = OptimiserConfig(decay_epochs=0.35)
    with pytest.raises(UsageError, match=r"0\.35, which is 1\.05 steps .* at least 3\.3,"):
        Optimiser(GPT2(CONFIG), config, steps_per_epoch=3)


def test_an_average_in_epochs_is_one_in_steps():
    optimiser = Optimiser(GPT2(CONFIG), OptimiserConfig(average_epochs=0.5), steps_per_epoch=1000)
    assert optimiser.average_decay == pytest.approx(0.998)
    with pytest.raises(UsageError, match="since average_epochs is given too"):
        OptimiserConfig(average_epochs=0.5, average_decay=0.9)
