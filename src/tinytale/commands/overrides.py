"""Every field of a config as an option: `--model.width 256`, with the field's own docstring as its help."""

import dataclasses
import typing
from typing import Any

from docstring_parser import parse_from_object

from tinytale.config import FILLED_IN_BY_TRAIN, DataConfig, ModelConfig, OptimiserConfig, RunConfig


def _optional(section: type) -> type:
    """The same dataclass with every field None by default, so that what was typed can be told from what was not."""
    helps = {item.args[1]: item.description for item in parse_from_object(section).params}
    fields = [
        (name, kind | None, dataclasses.field(default=None, metadata={"help": helps.get(name)}))
        for name, kind in typing.get_type_hints(section).items()
        if name not in FILLED_IN_BY_TRAIN
    ]
    optional = dataclasses.make_dataclass(f"{section.__name__}Overrides", fields, frozen=True, kw_only=True)
    optional.__module__ = __name__
    return optional


ModelOverrides = _optional(ModelConfig)
DataOverrides = _optional(DataConfig)
OptimiserOverrides = _optional(OptimiserConfig)
RunOverrides = _optional(RunConfig)


def typed_fields(section: Any) -> dict[str, Any]:
    """The fields of an overrides object that the person set."""
    if section is None:
        return {}
    return {name: value for name, value in dataclasses.asdict(section).items() if value is not None}
