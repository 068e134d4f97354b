"""Named training runs, each a function that returns its settings. The vocabulary always comes from the dataset."""

from collections.abc import Callable

from tinytale.config import (
    DataConfig,
    ModelConfig,
    OptimiserConfig,
    RunConfig,
    TrainConfig,
    as_options,
    changes,
    decided_by_train,
)
from tinytale.errors import UsageError


def pocket() -> TrainConfig:
    """The first run: a model of about two million weights that learns to tell stories within minutes on two cores."""
    return TrainConfig(
        recipe="pocket",
        model=ModelConfig(context_length=256, layers=4, heads=4, width=128),
        data=DataConfig(batch_size=16),
        optimiser=_muon(),
        run=RunConfig(epochs=1.0, evaluate_every=200, evaluate_tokens=65_536),
    )


def small() -> TrainConfig:
    """A model that holds a story together: twenty minutes (with AMX) to two hours on two cores."""
    return TrainConfig(
        recipe="small",
        model=ModelConfig(context_length=256, layers=6, heads=8, width=256),
        data=DataConfig(batch_size=32),
        optimiser=_muon(),
        run=RunConfig(epochs=2.0, evaluate_every=250, evaluate_tokens=131_072),
    )


def course() -> TrainConfig:
    """The shape that the course asks for, 12 layers of 768 with 12 heads and a context of 512: for a GPU.

    Weight decay, since five passes over one text are where it was seen to help (docs/experiments.md, 2026-11-24).
    """
    return TrainConfig(
        recipe="course",
        model=ModelConfig(context_length=512, layers=12, heads=12, width=768, dropout=0.1),
        data=DataConfig(batch_size=128, micro_batch_size=32),
        optimiser=_muon(decay=0.1),
        run=RunConfig(epochs=5.0, evaluate_every=250, evaluate_tokens=0),
    )


def gpt2() -> TrainConfig:
    """GPT-2 small as published, at its context of 1024, with its tokenizer (`prepare --tokenizer gpt2`): for a GPU."""
    return TrainConfig(
        recipe="gpt2",
        model=ModelConfig(context_length=1024, layers=12, heads=12, width=768),
        data=DataConfig(batch_size=480, micro_batch_size=16),
        optimiser=OptimiserConfig(learning_rate=6e-4, warmup_steps=700, weight_decay=0.1),
        run=RunConfig(epochs=5.0, evaluate_every=250, evaluate_tokens=0),
    )


def _muon(decay: float = 0.0) -> OptimiserConfig:
    """Muon for the blocks' matrices, AdamW for the rest, the rate falling in a straight line to zero."""
    return OptimiserConfig(
        algorithm="muon",
        matrix_learning_rate=0.02,
        learning_rate=1e-2,
        epsilon=1e-10,
        weight_decay=decay,
        matrix_weight_decay=decay,
        schedule="linear",
        warmup_steps=50,
        final_fraction=0.0,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {"pocket": pocket, "small": small, "course": course, "gpt2": gpt2}


def recipe(name: str) -> TrainConfig:
    """The settings of a named recipe.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}; known are {', '.join(RECIPES)}")
    return RECIPES[name]()


def typed_again(settings: TrainConfig) -> list[str]:
    """The options of `tinytale train` that give these settings on the same dataset: the recipe, and what differs.

    Raises:
        UsageError: the recipe is not known.
    """
    options = ["--recipe", settings.recipe]
    for name, _, value in changes(recipe(settings.recipe), settings):
        if not decided_by_train(name, settings):
            options += as_options(name, value)
    return options
