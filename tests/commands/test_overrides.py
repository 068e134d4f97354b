import dataclasses

from tinytale.commands.overrides import (
    FILLED_IN_BY_TRAIN,
    DataOverrides,
    ModelOverrides,
    OptimiserOverrides,
    RunOverrides,
    typed_fields,
)
from tinytale.config import DataConfig, ModelConfig, OptimiserConfig, RunConfig


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
