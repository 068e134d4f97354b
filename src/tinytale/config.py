"""The settings of a model and of its training: frozen dataclasses, checked when made, to and from TOML."""

import dataclasses
import difflib
import json
import math
import sys
import tomllib
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from tinytale.errors import UsageError

Settings = TypeVar("Settings")

TEMPERATURE = 0.6
"""At which stories are drawn when nobody says how."""

Precision = Literal["auto", "float32", "bfloat16", "int8"]
"""Number format of the weights when stories are generated; auto is int8 where our native decoder runs."""
DecoderKind = Literal["auto", "native", "torch"]
"""What computes when stories are generated; auto is our native decoder where it runs and agrees with the model."""

FILLED_IN_BY_TRAIN = {"vocab_size", "folder", "digest", "start_digest", "teacher_digest"}
"""Fields that are no options: the dataset decides them, or the weights that training begins with or follows."""

NOT_OF_SHAPE = ("dropout", "attention_dropout")
"""Settings of the model that weights do not decide."""


ANY = None
"""In a table of what a fast form knows: every value of a field."""


def unknown_field(settings: Any, knows: Mapping[str, Collection[Any] | None]) -> str | None:
    """The first setting that a fast form or another program does not implement, as `norm = 'post'`; None if it has all.

    Args:
        settings: a dataclass, such as `ModelConfig`.
        knows: the fields that are implemented: with `ANY` value, or with the values that are. A field that is not named
            must have its default, so that a field which is added later is refused until somebody implements it.
    """
    for each in dataclasses.fields(settings):
        value, default = getattr(settings, each.name), each.default
        known = knows.get(each.name, (default,))
        if known is not ANY and value not in known:
            return f"{each.name} = {value!r}"
    return None


def _require(valid: bool, section: Any, name: str, expected: str) -> None:
    if not valid:
        value = getattr(section, name)
        raise UsageError(f"{type(section).__name__}.{name} is {value!r}; expected {expected}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The architecture: everything that decides the shapes and the function of the network, and nothing else."""

    vocab_size: int = 50_257
    """Tokens in the vocabulary; training always takes it from the dataset."""
    context_length: int = 1024
    """Positions: the longest text, in tokens, that the model can look at."""
    layers: int = 12
    """Residual blocks."""
    heads: int = 12
    """Attention heads in each block; they share the width evenly."""
    width: int = 768
    """Size of the residual stream (the embedding)."""
    dropout: float = 0.0
    """Probability of dropping an activation: embeddings, attention weights, both sub-layer outputs."""
    attention_dropout: float | None = None
    """Of the attention weights alone, if another; with 0 our own attention runs. Default: dropout."""
    norm: Literal["pre", "post"] = "pre"
    """LayerNorm before each sub-layer (GPT-2) or after the residual sum (the original Transformer)."""
    positions: Literal["learned", "sinusoidal"] = "learned"
    """Learned position embeddings (GPT-2) or fixed sinusoids (the original Transformer)."""
    layer_norm_epsilon: float = 1e-5
    """Added to the variance inside LayerNorm."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "heads", "width"):
            _require(1 <= getattr(self, name) <= 2**24, self, name, "a whole number from 1 to 2**24")
        _require(1 <= self.layers <= 1024, self, "layers", "a whole number from 1 to 1024")
        _require(
            self.width % self.heads == 0,
            self,
            "heads",
            f"a divisor of the width {self.width} (each head gets an equal share)",
        )
        _require(0 <= self.dropout < 1, self, "dropout", "a probability of at least 0 and below 1")
        attention = self.attention_dropout
        _require(
            attention is None or 0 <= attention < 1,
            self,
            "attention_dropout",
            "a probability of at least 0 and below 1",
        )
        _require(self.norm in ("pre", "post"), self, "norm", "'pre' or 'post'")
        _require(self.positions in ("learned", "sinusoidal"), self, "positions", "'learned' or 'sinusoidal'")
        _require(
            self.positions == "learned" or self.width % 2 == 0,
            self,
            "width",
            "an even number with sinusoidal positions",
        )
        _require(0 < self.layer_norm_epsilon < 1, self, "layer_norm_epsilon", "a number above 0 and below 1")

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which tokens the model sees, and in what portions."""

    folder: str = ""
    """The dataset folder, as typed; `train` fills it in."""
    digest: str = ""
    """SHA-256 that names the dataset's content; `train` fills it in."""
    batch_size: int = 32
    """Sequences in one optimiser step."""
    micro_batch_size: int | None = None
    """Sequences that go through the model at once; gradients accumulate over the batch. Default: the whole batch."""
    sequence_length: int | None = None
    """Tokens in a training sequence. Default: the model's context length."""
    order: Literal["fresh", "fixed"] = "fresh"
    """Each epoch cuts and orders its windows anew; or every epoch is the first one over again."""
    windows: Literal["stream", "stories"] = "stream"
    """stream: cut the train split at equal distances. stories: shuffle the stories in each epoch and let each window
    begin with one; a story that a window cuts begins the next, and one longer than a window goes on in further ones."""
    input_noise: float = 0.0
    """Share of the input tokens that are replaced by random ones; the tokens to predict stay."""
    input_noise_until: float = 0.85
    """Share of the steps after which no input is replaced any more."""

    def __post_init__(self) -> None:
        _require(self.batch_size >= 1, self, "batch_size", "a whole number of at least 1")
        micro = self.micro_batch_size
        _require(
            micro is None or (micro >= 1 and self.batch_size % micro == 0),
            self,
            "micro_batch_size",
            f"a divisor of the batch size {self.batch_size}",
        )
        _require(self.sequence_length is None or self.sequence_length >= 1, self, "sequence_length", "at least 1 token")
        _require(self.order in ("fresh", "fixed"), self, "order", "'fresh' or 'fixed'")
        _require(self.windows in ("stream", "stories"), self, "windows", "'stream' or 'stories'")
        _require(0 <= self.input_noise < 1, self, "input_noise", "a share of at least 0 and below 1")
        _require(0 < self.input_noise_until <= 1, self, "input_noise_until", "a share above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Which optimiser moves which weights, how far, and the course of the learning rate."""

    algorithm: Literal["adamw", "muon"] = "adamw"
    """AdamW for every weight (the classic choice), or Muon for the blocks' matrices and AdamW for the rest."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    embedding_learning_rate: float | None = None
    """Peak AdamW rate of the embedding and positions; default: learning_rate."""
    matrix_learning_rate: float = 0.02
    """Peak learning rate of Muon."""
    matrix_momentum: float = 0.95
    """Decay rate of Muon's moving average of gradients."""
    matrix_weight_decay: float = 0.0
    """Muon's decoupled decay of the matrices that it moves."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the decay after the warm-up."""
    warmup_steps: int = 100
    """Steps over which the rate climbs linearly from 0 to its peak."""
    decay_fraction: float = 1.0
    """Share of the steps after the warm-up, the last ones, over which the rate decays. Before them it is at its peak
    and the length of the run is still open."""
    final_fraction: float = 0.1
    """Where the rate is heading: its fraction of the peak one step after the last."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of AdamW's two moving averages."""
    epsilon: float = 1e-8
    """Added to AdamW's denominator."""
    weight_decay: float = 0.1
    """AdamW's decoupled decay of matrices and embeddings; gains and biases are never decayed."""
    decay_epochs: float | None = None
    """Weight decay as a time: the epochs over which the weights forget. The decay is then 1 / (peak rate x these epochs
    x steps an epoch), for each rate its own, in place of weight_decay and matrix_weight_decay."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient; 0 turns clipping off."""
    average_decay: float = 0.0
    """Decay rate of a moving average of the weights, which is then what is evaluated and published; 0 keeps none."""
    average_epochs: float | None = None
    """The length of that average in epochs, in place of average_decay, which is then 1 - 1 / (these epochs x steps an
    epoch)."""

    def __post_init__(self) -> None:
        _require(self.algorithm in ("adamw", "muon"), self, "algorithm", "'adamw' or 'muon'")
        _require(self.learning_rate > 0, self, "learning_rate", "a number above 0")
        embedding = self.embedding_learning_rate
        _require(embedding is None or embedding > 0, self, "embedding_learning_rate", "a number above 0")
        _require(self.matrix_learning_rate > 0, self, "matrix_learning_rate", "a number above 0")
        _require(0 <= self.matrix_momentum < 1, self, "matrix_momentum", "a number of at least 0 and below 1")
        _require(
            self.schedule in ("cosine", "linear", "constant"), self, "schedule", "'cosine', 'linear' or 'constant'"
        )
        _require(self.warmup_steps >= 0, self, "warmup_steps", "a whole number of at least 0")
        _require(0 < self.decay_fraction <= 1, self, "decay_fraction", "a fraction above 0 and at most 1")
        _require(0 <= self.final_fraction <= 1, self, "final_fraction", "a fraction between 0 and 1")
        _require(all(0 <= beta < 1 for beta in self.betas), self, "betas", "two numbers of at least 0 and below 1")
        _require(self.epsilon > 0, self, "epsilon", "a number above 0")
        _require(self.weight_decay >= 0, self, "weight_decay", "a number of at least 0")
        _require(self.matrix_weight_decay >= 0, self, "matrix_weight_decay", "a number of at least 0")
        _require(self.clip_norm >= 0, self, "clip_norm", "a number of at least 0")
        _require(0 <= self.average_decay < 1, self, "average_decay", "a number of at least 0 and below 1")
        for name in ("decay_epochs", "average_epochs"):
            epochs = getattr(self, name)
            _require(epochs is None or 0 < epochs < math.inf, self, name, "a number above 0")
        _require(
            self.average_epochs is None or not self.average_decay,
            self,
            "average_decay",
            "0, since average_epochs is given too",
        )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long to train, on what, and how often to look and to save."""

    epochs: float = 1.0
    """Passes over the train split; `max_steps` overrides it."""
    max_steps: int | None = None
    """Optimiser steps in all. Default: as many as the epochs need."""
    seed: int = 0
    """Seed of the initial weights, the data order and dropout."""
    start_from: str = ""
    """A run, GPT-2 folder or shipped weights whose weights and shape training begins with. Default: random weights."""
    start_digest: str = ""
    """SHA-256 of the weights that training begins with; `train` fills it in."""
    teacher: str = ""
    """A run, GPT-2 folder or shipped weights whose predictions training also follows. Default: none."""
    teacher_digest: str = ""
    """SHA-256 of the teacher's weights; `train` fills it in."""
    teacher_weight: float = 0.5
    """Share of the teacher in the loss that is minimised; the text itself has the rest."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes CUDA, then MPS, then the CPU."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; weights and optimiser stay float32. auto takes bfloat16 where the hardware multiplies it."""
    kernels: Literal["native", "fused", "textbook"] = "native"
    """torch's fused kernels with our own CPU attention where it runs, torch's alone, or the formulas written out."""
    compile: bool | None = None
    """Compile the model with torch.compile: up to a minute at the start, then faster steps. Default: in long runs."""
    allocator: Literal["tuned", "default"] = "tuned"
    """On Linux, start the process anew with glibc's allocator told to keep its memory; or leave it as it comes."""
    evaluate_every: int = 250
    """Steps between evaluations on the dev split; the last step is always evaluated."""
    evaluate_tokens: int = 131_072
    """Tokens of the dev split in each of these evaluations; 0 means all."""
    sample_every: int = 1
    """Let the model tell a few short stories at every so many-th of these evaluations, for samples.jsonl; 0: never."""
    checkpoint_seconds: float = 60.0
    """A checkpoint is written at the first step after this many seconds, and at every evaluation."""
    keep_checkpoints: int = 2
    """Newest checkpoints that stay, beside the best one."""

    def __post_init__(self) -> None:
        _require(0 < self.epochs < math.inf, self, "epochs", "a number above 0")
        _require(self.max_steps is None or self.max_steps >= 1, self, "max_steps", "a whole number of at least 1")
        _require(0 <= self.seed < 2**63, self, "seed", "a whole number of at least 0 and below 2**63")
        _require(0 < self.teacher_weight <= 1, self, "teacher_weight", "a share above 0 and at most 1")
        _require(self.device in ("auto", "cpu", "cuda", "mps"), self, "device", "'auto', 'cpu', 'cuda' or 'mps'")
        _require(
            self.precision in ("auto", "float32", "bfloat16"), self, "precision", "'auto', 'float32' or 'bfloat16'"
        )
        _require(self.kernels in ("native", "fused", "textbook"), self, "kernels", "'native', 'fused' or 'textbook'")
        _require(self.allocator in ("tuned", "default"), self, "allocator", "'tuned' or 'default'")
        _require(self.evaluate_every >= 1, self, "evaluate_every", "a whole number of at least 1")
        _require(self.evaluate_tokens >= 0, self, "evaluate_tokens", "a whole number of at least 0")
        _require(self.sample_every >= 0, self, "sample_every", "a whole number of at least 0")
        _require(self.checkpoint_seconds >= 0, self, "checkpoint_seconds", "a number of at least 0")
        _require(self.keep_checkpoints >= 1, self, "keep_checkpoints", "a whole number of at least 1")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that a training run is made from; the run folder holds it as `config.toml`."""

    recipe: str = ""
    """Name of the recipe that it began as."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        unsettled = self.run.start_from and not self.run.start_digest  # the model will have the shape of those weights
        if self.sequence_length > self.model.context_length and not unsettled:
            raise UsageError(
                f"DataConfig.sequence_length is {self.sequence_length}, but the model has {self.model.context_length}"
                f" positions; shorten it, or raise model.context_length"
            )

    @property
    def sequence_length(self) -> int:
        """Tokens in a training sequence."""
        return self.data.sequence_length or self.model.context_length

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimiser step learns from."""
        return self.data.batch_size * self.sequence_length

    def to_toml(self) -> str:
        """Write as TOML; `from_toml` gives an equal config back."""
        values = dataclasses.asdict(self)
        lines = [f"{key} = {_toml_value(value)}" for key, value in values.items() if not isinstance(value, dict)]
        for section, content in values.items():
            if isinstance(content, dict):
                lines += ["", f"[{section}]"]
                lines += [f"{key} = {_toml_value(value)}" for key, value in content.items() if value is not None]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, path: Path) -> "TrainConfig":
        """Read a whole config from a TOML file.

        Raises:
            UsageError: the file cannot be read, is not TOML, or holds an unknown or impossible setting.
        """
        return override(cls(), read_toml(path), where=str(path))


def override(settings: Settings, changes: Mapping[str, Any], where: str = "") -> Settings:
    """A copy of `settings` (a config dataclass) with `changes` (nested mappings by field name) applied.

    Raises:
        UsageError: an unknown field (the nearest known one is named) or a value of the wrong type, from `where`.
    """
    prefix = f"{where}: " if where else ""
    kinds = typing.get_type_hints(type(settings))
    values = {}
    for name, value in changes.items():
        refuse_unknown(name, kinds, f"{prefix}{type(settings).__name__} has no field")
        current = getattr(settings, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise UsageError(f"{prefix}{name} is {value!r}; expected a section of settings")
            values[name] = override(current, value, where)
        else:
            values[name] = _typed(value, kinds[name], f"{prefix}{type(settings).__name__}.{name}")
    return dataclasses.replace(settings, **values)  # pyright: ignore[reportArgumentType]


def refuse_unknown(name: str, known: Iterable[str], complaint: str) -> None:
    """See that a name is known.

    Raises:
        UsageError: it is not; after the complaint, the nearest known one is named, or all.
    """
    known = list(known)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        raise UsageError(f"{complaint} {name!r}; {hint}")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: it is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist; expected a TOML file of settings") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}") from error


def decided_by_train(name: str, settings: TrainConfig) -> bool:
    """Whether the dataset, or the weights that training begins with, decide a setting `section.field`: no person."""
    section, _, own = name.rpartition(".")
    of_first_weights = bool(settings.run.start_from) and section == "model" and own not in NOT_OF_SHAPE
    return own in FILLED_IN_BY_TRAIN or of_first_weights


def differences(old: Any, new: Any) -> list[str]:
    """Every field that differs between two configs of one kind, as `section.field: old -> new`."""
    return [f"{name}: {before!r} -> {after!r}" for name, before, after in changes(old, new)]


def changes(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every field that differs between two configs of one kind: `section.field`, its old value, its new one."""
    for item in dataclasses.fields(old):
        before, after = getattr(old, item.name), getattr(new, item.name)
        if dataclasses.is_dataclass(before):
            yield from changes(before, after, f"{prefix}{item.name}.")
        elif before != after:
            yield f"{prefix}{item.name}", before, after


def as_options(name: str, value: Any) -> list[str]:
    """A setting as it is typed: `run.compile` and False become `--run.no-compile`."""
    section, _, own = name.replace("_", "-").partition(".")
    if isinstance(value, bool):
        return [f"--{section}.{own}" if value else f"--{section}.no-{own}"]
    if isinstance(value, tuple | list):
        return [f"--{section}.{own}", *map(str, value)]
    return [f"--{section}.{own}={value}"]


def _typed(value: Any, kind: Any, name: str) -> Any:
    """`value` as a field's annotated type; a whole number may stand for a float, and a list for a tuple."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for option in options:
        origin = typing.get_origin(option)
        if origin is Literal and value in typing.get_args(option) and isinstance(value, str):
            return value
        if origin is tuple and isinstance(value, list | tuple) and len(value) == len(typing.get_args(option)):
            return tuple(_typed(item, part, name) for item, part in zip(value, typing.get_args(option), strict=True))
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            if abs(value) <= sys.float_info.max:
                return float(value)
            continue
        if isinstance(option, type) and type(value) is option and option is not float:
            return value
    expected = " or ".join(getattr(o, "__name__", str(o)) if typing.get_origin(o) is None else str(o) for o in options)
    raise UsageError(f"{name} is {value!r}; expected {expected.replace('typing.', '')}")


def _toml_value(value: Any) -> str:
    """A setting as a TOML value: JSON's strings, numbers and lists are TOML's too, except for the delete character."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
