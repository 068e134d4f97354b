import dataclasses

from tinytale.cli import app
from tinytale.commands.overrides import (
    DataOverrides,
    ModelOverrides,
    OptimiserOverrides,
    RunOverrides,
    typed_fields,
)
from tinytale.config import FILLED_IN_BY_TRAIN, DataConfig, ModelConfig, OptimiserConfig, RunConfig, override
from tinytale.recipes import recipe, typed_again


def test_every_field_is_an_option_but_those_that_train_fills_in():
    pairs = zip(
        (ModelOverrides, DataOverrides, OptimiserOverrides, RunOverrides),
        (ModelConfig, DataConfig, OptimiserConfig, RunConfig),
        strict=True,
    )
    for options, section in pairs:
        names = {field.name for field in dataclasses.fields(section)} - FILLED_IN_BY_TRAIN
        assert {field.name for field in dataclasses.fields(options)} == names


def test_only_what_was_typed_counts():
    assert typed_fields(None) == typed_fields(ModelOverrides()) == {}
    assert typed_fields(ModelOverrides(dropout=0.0)) == {"dropout": 0.0}


def test_every_option_is_explained_in_the_words_of_the_config(tale):
    shown = " ".join(tale("train", "--help").out.split())
    for section in ("model", "data", "optimiser", "run"):
        assert f"--{section}." in shown
    assert "Residual blocks." in shown and "Peak learning rate of AdamW." in shown


def test_what_is_typed_again_gives_the_same_settings():
    settings = override(
        recipe("course"),
        {
            "model": {"layers": 3, "dropout": 0.25},
            "data": {"micro_batch_size": 4, "order": "fixed"},
            "optimiser": {"betas": [0.5, 0.25], "weight_decay": 0.1, "epsilon": 1e-12},
            "run": {"compile": False, "start_from": "", "epochs": 1.5, "max_steps": 7, "kernels": "textbook"},
        },
    )
    _, bound, _ = app.parse_args(["train", "stories", "--out", "run", *typed_again(settings)])
    given = bound.arguments
    typed = {name: typed_fields(given.get(name)) for name in ("model", "data", "optimiser", "run")}
    assert override(recipe(given["recipe"]), typed) == settings
