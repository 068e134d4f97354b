from dataclasses import replace

import pytest
import torch

from tinytale.errors import UsageError
from tinytale.model.gpt2 import GPT2
from tinytale.recipes import RECIPES, recipe
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
