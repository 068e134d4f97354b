from dataclasses import replace

import pytest
import torch

from tinytale.config import OptimiserConfig, TrainConfig
from tinytale.errors import UsageError
from tinytale.model.gpt2 import GPT2
from tinytale.recipes import RECIPES, recipe, typed_again
from tinytale.training.optim import Optimiser


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds(name: str):
    config = recipe(name)
    assert config.recipe == name
    with torch.device("meta"):
        model = GPT2(replace(config.model, vocab_size=8192), config.run.kernels)
        Optimiser(model, config.optimiser)
        assert model(torch.zeros(1, 2, dtype=torch.int64)).shape == (1, 2, 8192)


def test_gpt2_has_exactly_the_published_number_of_weights():
    with torch.device("meta"):
        assert GPT2(recipe("gpt2").model).parameter_count() == 124_439_808
    assert recipe("gpt2").model.vocab_size == 50_257


def test_course_and_gpt2_have_the_shape_that_was_asked_for():
    for name, context in (("course", 512), ("gpt2", 1024)):
        model = recipe(name).model
        assert (model.layers, model.width, model.heads, model.context_length) == (12, 768, 12, context)


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="no recipe 'smal'; known are pocket, small, course, gpt2"):
        recipe("smal")


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_typed_again_is_the_recipe_and_what_differs(name: str):
    config = recipe(name)
    decided = replace(
        config,
        model=replace(config.model, vocab_size=99, dropout=0.3),
        data=replace(config.data, folder="stories", digest="ab" * 32),
        optimiser=replace(config.optimiser, betas=(0.5, 0.25)),
        run=replace(config.run, seed=7, compile=False),
    )
    assert typed_again(config) == ["--recipe", name]
    assert typed_again(decided) == [
        "--recipe",
        name,
        "--model.dropout=0.3",
        "--optimiser.betas",
        "0.5",
        "0.25",
        "--run.seed=7",
        "--run.no-compile",
    ]


def test_the_shape_of_first_weights_is_not_typed():
    config = recipe("pocket")
    began = replace(
        config,
        model=replace(config.model, layers=1, dropout=0.3),
        run=replace(config.run, start_from="runs/a b", start_digest="ab" * 32),
    )
    assert typed_again(began) == ["--recipe", "pocket", "--model.dropout=0.3", "--run.start-from=runs/a b"]
    with pytest.raises(UsageError, match="no recipe ''"):
        typed_again(TrainConfig(optimiser=OptimiserConfig()))
