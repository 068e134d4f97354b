"""What a request holds, read within bounds, or the error that answers it."""

import asyncio
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from tinytale.addons.serve.scheduler import Scheduler
from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import UsageError
from tinytale.generation.stories import opened
from tinytale.model.derive import with_kernels
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder

LARGEST_BODY = 256 * 1024
"""Bytes of a request."""
BODY_SECONDS = 10.0
"""A request that has not arrived by then is given up."""

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Served:
    """One model that is served."""

    name: str
    folder: Path
    tokenizer: Tokenizer
    scheduler: Scheduler
    model: GPT2

    @property
    def context_length(self) -> int:
        """Tokens that it can look at."""
        return self.model.config.context_length

    @cached_property
    def textbook(self) -> GPT2:
        """The model with the formulas written out, for looking inside: the weights that tell, whatever the folder holds
        by now.
        """
        return with_kernels(self.model, "textbook")

    @property
    def run(self) -> RunFolder | None:
        """The run that it is of, if it has metrics to show."""
        run = RunFolder(self.folder)
        return run if run.metrics.is_file() else None


class RequestError(Exception):
    """A request that is answered by an error."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers


async def body_of(request: Request, kind: type[Body]) -> Body:
    """The request's body as what it should be, within bounds of size and time.

    Raises:
        RequestError: it is too large, too slow, or something else. The connection is closed where more of it may come.
    """
    content, close = b"", {"Connection": "close"}
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > LARGEST_BODY:
                    raise RequestError(413, f"the request is larger than {LARGEST_BODY:,} bytes", close)
    except TimeoutError as error:
        raise RequestError(408, f"the request has not arrived within {BODY_SECONDS:.0f} seconds", close) from error
    except ClientDisconnect as error:
        raise RequestError(400, "the request breaks off", close) from error
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise RequestError(400, first_fault(error.errors(include_url=False, include_context=False))) from error


def first_fault(faults: list) -> str:
    """The first of what pydantic found wrong, for a person: where, and what. The value itself is not repeated."""
    place = ".".join(str(part)[:100] for part in faults[0]["loc"][:3])
    _, should, expected = faults[0]["msg"].partition(" should ")  # of "Input should be less than or equal to 2"
    if place and should:
        return f"{place}{should}{expected}"
    message = faults[0]["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def tokens_of(model: Served, text: str) -> list[int]:
    """The tokens of a prompt, opened.

    Raises:
        RequestError: they are more than the model can look at, or the text holds half a character.
    """
    try:
        tokens = opened(model.tokenizer, text)
    except UsageError as error:
        raise RequestError(400, str(error)) from error
    if len(tokens) > model.context_length:
        raise RequestError(
            400, f"the text has {len(tokens)} tokens, and the model can look at {model.context_length}: shorten it"
        )
    return tokens
