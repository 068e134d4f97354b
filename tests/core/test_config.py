import math
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytale.config import (
    DataConfig,
    ModelConfig,
    OptimiserConfig,
    RunConfig,
    TrainConfig,
    differences,
    override,
    read_toml,
)
from tinytale.errors import UsageError

BAD_FIELDS = [
    (ModelConfig, "vocab_size", 0),
    (ModelConfig, "vocab_size", 2**24 + 1),
    (ModelConfig, "context_length", 0),
    (ModelConfig, "layers", 0),
    (ModelConfig, "heads", 0),
    (ModelConfig, "heads", 5),
    (ModelConfig, "width", -1),
    (ModelConfig, "dropout", 1.0),
    (ModelConfig, "dropout", math.nan),
    (ModelConfig, "attention_dropout", 1.0),
    (ModelConfig, "layer_norm_epsilon", 0.0),
    (DataConfig, "batch_size", 0),
    (DataConfig, "micro_batch_size", 0),
    (DataConfig, "micro_batch_size", 5),
    (DataConfig, "sequence_length", 0),
    (DataConfig, "input_noise", 1.0),
    (DataConfig, "input_noise_until", 0.0),
    (OptimiserConfig, "learning_rate", 0.0),
    (OptimiserConfig, "embedding_learning_rate", 0.0),
    (OptimiserConfig, "matrix_learning_rate", -1.0),
    (OptimiserConfig, "matrix_momentum", 1.0),
    (OptimiserConfig, "matrix_weight_decay", -0.1),
    (OptimiserConfig, "average_decay", 1.0),
    (OptimiserConfig, "average_epochs", 0.0),
    (OptimiserConfig, "decay_epochs", math.inf),
    (OptimiserConfig, "warmup_steps", -1),
    (OptimiserConfig, "decay_fraction", 0.0),
    (OptimiserConfig, "final_fraction", 1.5),
    (OptimiserConfig, "betas", (0.9, 1.0)),
    (OptimiserConfig, "epsilon", 0.0),
    (OptimiserConfig, "weight_decay", -0.1),
    (OptimiserConfig, "clip_norm", -1.0),
    (RunConfig, "epochs", 0.0),
    (RunConfig, "epochs", math.inf),
    (RunConfig, "max_steps", 0),
    (RunConfig, "seed", -1),
    (RunConfig, "teacher_weight", 0.0),
    (RunConfig, "teacher_weight", 1.5),
    (RunConfig, "teacher_weight", math.nan),
    (RunConfig, "evaluate_every", 0),
    (RunConfig, "evaluate_tokens", -1),
    (RunConfig, "sample_every", -1),
    (RunConfig, "checkpoint_seconds", -1.0),
    (RunConfig, "keep_checkpoints", 0),
]


@pytest.mark.parametrize(("section", "name", "value"), BAD_FIELDS)
def test_a_bad_value_is_refused_with_its_field_and_itself(section: type, name: str, value: object):
    with pytest.raises(UsageError) as error:
        section(**{name: value})
    assert f"{section.__name__}.{name} is {value!r}; expected" in str(error.value)


def test_every_field_that_can_be_wrong_is_tried_above():
    sections = (ModelConfig, DataConfig, OptimiserConfig, RunConfig)
    kinds = {(section, name): kind for section in sections for name, kind in typing.get_type_hints(section).items()}
    free = (str, bool, bool | None)
    words = {field for field, kind in kinds.items() if typing.get_origin(kind) is typing.Literal or kind in free}
    assert kinds.keys() - words == {bad[:2] for bad in BAD_FIELDS}


WORDS = [
    ("model", "norm"),
    ("model", "positions"),
    ("optimiser", "algorithm"),
    ("optimiser", "schedule"),
    ("run", "device"),
    ("run", "precision"),
    ("run", "kernels"),
]


@pytest.mark.parametrize(("section", "name"), WORDS)
@pytest.mark.parametrize("value", ["other", 1, ["pre"], None])
def test_a_word_that_is_not_one_of_the_known_is_refused(section: str, name: str, value: object):
    with pytest.raises(UsageError, match=rf"{name} is .*; expected Literal\["):
        override(TrainConfig(), {section: {name: value}})


def test_an_odd_width_is_refused_with_sinusoids_alone():
    ModelConfig(width=15, heads=5)
    with pytest.raises(UsageError, match=r"ModelConfig\.width is 15"):
        ModelConfig(width=15, heads=5, positions="sinusoidal")


def test_a_sequence_longer_than_the_positions_is_refused():
    TrainConfig(data=DataConfig(sequence_length=1024))
    with pytest.raises(UsageError, match="sequence_length is 1025, but the model has 1024 positions"):
        TrainConfig(data=DataConfig(sequence_length=1025))


def test_the_sequence_length_defaults_to_the_context():
    config = TrainConfig(model=ModelConfig(context_length=64), data=DataConfig(batch_size=3))
    assert (config.sequence_length, config.tokens_per_step) == (64, 192)


fractions = st.floats(0, 1, exclude_max=True)
positive = st.floats(0, 1e6, exclude_min=True)
text = st.text(st.characters(exclude_categories=["Cs"]))
configs = st.builds(
    TrainConfig,
    recipe=text,
    model=st.builds(
        ModelConfig,
        vocab_size=st.integers(1, 10**6),
        dropout=fractions,
        attention_dropout=st.none() | fractions,
        norm=st.sampled_from(["pre", "post"]),
        positions=st.sampled_from(["learned", "sinusoidal"]),
    ),
    data=st.builds(
        DataConfig,
        folder=text,
        micro_batch_size=st.sampled_from([None, 1, 4]),
        sequence_length=st.none() | st.integers(1, 99),
    ),
    optimiser=st.builds(OptimiserConfig, learning_rate=positive, betas=st.tuples(fractions, fractions)),
    run=st.builds(RunConfig, epochs=positive, seed=st.integers(0, 2**63 - 1), max_steps=st.none() | st.integers(1)),
)


@given(config=configs)
def test_toml_gives_the_same_config_back(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / "config.toml"
    path.write_text(config.to_toml(), encoding="utf-8", newline="\n")
    assert TrainConfig.from_toml(path) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modle": {}}, "TrainConfig has no field 'modle'; did you mean 'model'?"),
        ({"model": {"with": 4}}, "ModelConfig has no field 'with'; did you mean 'width'?"),
        ({"model": {"zzz": 4}}, "ModelConfig has no field 'zzz'; known are vocab_size, "),
        ({"model": 4}, "model is 4; expected a section"),
        ({"model": {"width": "wide"}}, "ModelConfig.width is 'wide'; expected int"),
        ({"model": {"width": 4.0}}, "ModelConfig.width is 4.0; expected int"),
        ({"model": {"width": True}}, "ModelConfig.width is True; expected int"),
        ({"model": {"dropout": "0.1"}}, "ModelConfig.dropout is '0.1'; expected float"),
        ({"model": {"dropout": math.nan}}, "ModelConfig.dropout is nan; expected float"),
        ({"optimiser": {"learning_rate": 10**400}}, "OptimiserConfig.learning_rate is 1000"),
        ({"model": {"norm": "mid"}}, "ModelConfig.norm is 'mid'; expected Literal['pre', 'post']"),
        ({"data": {"micro_batch_size": "2"}}, "DataConfig.micro_batch_size is '2'; expected int or None"),
        ({"optimiser": {"betas": [0.9]}}, "OptimiserConfig.betas is [0.9]; expected tuple[float, float]"),
        ({"run": {"compile": 1}}, "RunConfig.compile is 1; expected bool"),
        ({"recipe": 3}, "TrainConfig.recipe is 3; expected str"),
    ],
)
def test_a_wrong_name_or_type_is_refused_with_what_would_be_right(changes: dict, message: str):
    with pytest.raises(UsageError) as error:
        override(TrainConfig(), changes, where="my.toml")
    assert str(error.value).startswith(f"my.toml: {message}")


def test_an_override_changes_what_it_names_and_nothing_else():
    changed = override(TrainConfig(), {"model": {"dropout": 0}, "optimiser": {"betas": [0.5, 0]}})
    assert differences(TrainConfig(), changed) == ["optimiser.betas: (0.9, 0.95) -> (0.5, 0.0)"]
    assert type(changed.optimiser.betas[1]) is float


@pytest.mark.parametrize("content", [None, b"a = ", b"\xff", b"a = " + b"9" * 5000, b"a = " + b"[" * 5000])
def test_a_file_that_is_not_toml_is_refused_by_name(tmp_path: Path, content: bytes | None):
    path = tmp_path / "my.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"my\.toml"):
        read_toml(path)


def test_the_mark_that_some_editors_put_before_toml_is_no_damage(tmp_path: Path):
    (tmp_path / "my.toml").write_text("[run]\nseed = 3\n", encoding="utf-8-sig")
    assert read_toml(tmp_path / "my.toml") == {"run": {"seed": 3}}
