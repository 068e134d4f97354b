"""Weights that training begins with: a model's own, never another's."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tinytale.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2
from tinytale.training.loop import initial_model, initial_state
from tinytale.training.start import settle_start

SHAPE = ModelConfig(vocab_size=300, context_length=16, layers=2, heads=2, width=16)


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    torch.manual_seed(5)
    save_model(tmp_path / "begun", GPT2(SHAPE), 0, (dataset / "tokenizer.json").read_bytes())
    return tmp_path / "begun"


def begun(folder: Path, dataset: Path, **model: object) -> TrainConfig:
    asked = TrainConfig(model=replace(ModelConfig(), **model), run=RunConfig(start_from=str(folder)))
    return settle_start(asked, None, load_tokenizer(dataset), model)


def test_the_first_weights_and_their_shape_are_those_of_the_folder(folder: Path, dataset: Path):
    config = begun(folder, dataset, dropout=0.25)
    assert config.model == replace(SHAPE, dropout=0.25) and len(config.run.start_digest) == 64
    torch.manual_seed(5)
    expected, model = GPT2(SHAPE), initial_model(config)
    assert model.training
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_other_weights_in_the_folder_are_refused(folder: Path, dataset: Path):
    config = begun(folder, dataset)
    save_model(folder, GPT2(SHAPE), 0, (dataset / "tokenizer.json").read_bytes())
    with pytest.raises(TaleError, match="holds other weights now"):
        initial_model(config)


def test_a_dataset_of_other_tokens_is_refused(folder: Path, dataset: Path):
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match="prepared with other tokens than those of"):
        begun(folder, dataset)


def test_the_same_tokens_written_otherwise_are_taken(folder: Path, dataset: Path):
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=True, indent=1), encoding="utf-8")
    assert begun(folder, dataset).model.layers == SHAPE.layers


def test_a_padded_vocabulary_is_to_be_cut_first(folder: Path, dataset: Path):
    save_model(folder, GPT2(replace(SHAPE, vocab_size=304)), 0, (dataset / "tokenizer.json").read_bytes())
    with pytest.raises(UsageError, match=r"304 rows in its vocabulary and 300 tokens; .*: tinytale import "):
        begun(folder, dataset)


def test_once_begun_the_folder_is_needed_no_more(folder: Path, dataset: Path):
    config = begun(folder, dataset)
    shutil.rmtree(folder)
    assert initial_state(config, 5, begun=True).model.config == SHAPE
    with pytest.raises(UsageError, match=r"run\.start_from: there is no folder"):
        initial_state(config, 5)


def test_another_shape_is_refused_another_dropout_is_not(folder: Path, dataset: Path):
    assert begun(folder, dataset, layers=2, dropout=0.5, attention_dropout=0.1).model.layers == SHAPE.layers
    with pytest.raises(UsageError, match=r"model\.layers is 3, but .*begun has 2"):
        begun(folder, dataset, layers=3)


def test_a_run_that_goes_on_keeps_the_shape_and_the_digest_that_it_was_begun_with(folder: Path, dataset: Path):
    config = begun(folder, dataset)
    shutil.rmtree(folder)
    assert settle_start(config, config, load_tokenizer(dataset), {}) == config


def test_sequences_may_be_as_long_as_the_context_of_the_weights_not_of_the_recipe(folder: Path, dataset: Path):
    run, short = RunConfig(start_from=str(folder)), ModelConfig(context_length=8)
    asked = TrainConfig(model=short, data=DataConfig(sequence_length=16), run=run)
    assert settle_start(asked, None, load_tokenizer(dataset), {}).sequence_length == 16
    asked = TrainConfig(model=short, data=DataConfig(sequence_length=17), run=run)
    with pytest.raises(UsageError, match="sequence_length is 17, but the model has 16"):
        settle_start(asked, None, load_tokenizer(dataset), {})


def test_without_first_weights_there_is_no_digest(dataset: Path):
    config = TrainConfig(run=RunConfig(start_digest="0" * 64))
    assert settle_start(config, None, load_tokenizer(dataset), {}).run.start_digest == ""


def test_no_such_folder_is_a_usage_error(dataset: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"run\.start_from: there is no folder"):
        begun(tmp_path / "none", dataset)
