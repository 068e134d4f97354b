"""Training that begins with the weights of a GPT-2 folder instead of random ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tinytale.advice import command
from tinytale.config import NOT_OF_SHAPE, ModelConfig, TrainConfig
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.model.attention import Kernels
from tinytale.model.folder import load_model, read_config
from tinytale.model.gpt2 import GPT2
from tinytale.model.weight_files import weights_digest
from tinytale.runs import find_folder, model_folder


def settle_start(
    settings: TrainConfig, begun: TrainConfig | None, tokenizer: Tokenizer, asked_of_model: dict[str, Any]
) -> TrainConfig:
    """The settings with what the weights that training begins with decide: their shape and their digest.

    Args:
        settings: what to train; without `run.start_from` only an old digest is taken out.
        begun: the settings of the run that goes on, once it has a checkpoint; it keeps what it was begun with. The
            folder of the first weights is needed no more, unless a rollback comes before the first evaluation.
        tokenizer: the dataset's.
        asked_of_model: settings of the model that a person gave by name; none may ask for another shape.

    Raises:
        UsageError: there is no such folder; or its tokens are not the dataset's; or another shape was asked for.
        TaleError: a file of the folder is damaged.
    """
    if not settings.run.start_from:
        return replace(settings, run=replace(settings.run, start_digest=""))
    if begun and begun.run.start_from == settings.run.start_from:
        settings = _with_shape(settings, begun.model, begun.run.start_digest)
    else:
        settings = _with_start(settings, tokenizer)
    _refuse_another_shape(settings.model, asked_of_model, settings.run.start_from)
    return settings


def _with_start(settings: TrainConfig, tokenizer: Tokenizer) -> TrainConfig:
    """These settings with the model's shape, and the digest, of the weights that `run.start_from` names.

    Raises:
        UsageError: there is no such folder; or the dataset, whose `tokenizer` this is, has other tokens than the model.
        TaleError: a file of the folder is damaged.
    """
    folder, shape = checked_folder("run.start_from", settings.run.start_from, tokenizer)
    return _with_shape(settings, shape, weights_digest(folder))


def checked_folder(option: str, name: str, tokenizer: Tokenizer) -> tuple[Path, ModelConfig]:
    """The GPT-2 folder that `option` names, and its shape.

    Raises:
        UsageError: there is no such folder; or the dataset, whose `tokenizer` this is, has other tokens than the model.
        TaleError: a file of the folder is damaged.
    """
    folder = _named_folder(option, name)
    shape, own = read_config(folder), load_tokenizer(folder)
    if shape.vocab_size != own.vocab_size:
        raise UsageError(
            f"{folder} has {shape.vocab_size} rows in its vocabulary and {own.vocab_size} tokens;"
            f" this makes a folder of it in which they agree: {command('import', folder, '--out', 'FOLDER')}"
        )
    if _tokens(own) != _tokens(tokenizer):
        raise UsageError(
            f"the dataset was prepared with other tokens than those of {name}; prepare it again with --tokenizer {name}"
        )
    return folder, shape


def _with_shape(settings: TrainConfig, shape: ModelConfig, digest: str) -> TrainConfig:
    """These settings with a shape, and the digest of the weights that have it."""
    free = {name: getattr(settings.model, name) for name in NOT_OF_SHAPE}
    return replace(settings, model=replace(shape, **free), run=replace(settings.run, start_digest=digest))


def _refuse_another_shape(model: ModelConfig, asked: dict[str, Any], start_from: str) -> None:
    """See that no setting of the model asks for another shape than that of the weights that training begins with.

    Raises:
        UsageError: one does.
    """
    for name, value in asked.items():
        if name not in NOT_OF_SHAPE and getattr(model, name) != value:
            raise UsageError(
                f"model.{name} is {value!r}, but {start_from} has {getattr(model, name)!r}; leave it out, or begin with"
                " other weights"
            )


def start_weights(config: TrainConfig) -> dict[str, Tensor]:
    """The weights that the run begins with, by our names.

    Raises:
        UsageError: their folder is gone.
        TaleError: it holds other weights than when the run was begun.
    """
    return unchanged_model("run.start_from", config.run.start_from, config.run.start_digest, "textbook").state_dict()


def unchanged_model(option: str, name: str, digest: str, kernels: Kernels) -> GPT2:
    """The model of the folder that `option` names, in evaluation mode, on the CPU; its weights have this SHA-256.

    Raises:
        UsageError: the folder is gone.
        TaleError: it holds other weights than when the run was begun.
    """
    folder = _named_folder(option, name)
    if weights_digest(folder) != digest:
        raise TaleError(
            f"{option}: {folder} holds other weights now than when this run was begun; put those back"
            f" (SHA-256 {digest[:16]}...)"
        )
    return load_model(folder, kernels)


def _named_folder(option: str, name: str) -> Path:
    try:
        return model_folder(find_folder(name))
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error


def _tokens(tokenizer: Tokenizer) -> tuple[int, list[bytes]]:
    return tokenizer.end_of_text, [tokenizer.token_bytes(index) for index in range(tokenizer.vocab_size)]
