"""What the page asks for beside stories and looks: how a text is split, a run's curves, and what it told on the way."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, StringConstraints

from tinytale.addons.inspection.split import split_data
from tinytale.addons.serve.asking import RequestError, Served, body_of
from tinytale.errors import UsageError
from tinytale.training.metrics import read_new_metrics

LONGEST_TEXT = 4_000
"""Characters whose split is shown: each may be four tokens, and every token is an element of the page."""


Place = Annotated[int, Query(ge=0, lt=2**62)]
"""A byte of a file."""


class TokensRequest(BaseModel):
    """`POST /api/tokens`."""

    model_config = ConfigDict(strict=True)

    model: str
    text: Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]


def page_routes(named: Callable[[str], Served]) -> APIRouter:
    """The routes; `named` finds a model, or refuses."""
    routes = APIRouter()

    @routes.post("/api/tokens")
    async def tokens(request: Request) -> dict[str, Any]:
        asked = await body_of(request, TokensRequest)
        try:
            return await asyncio.to_thread(split_data, named(asked.model).tokenizer, asked.text)
        except UsageError as error:
            raise RequestError(400, str(error)) from error

    @routes.get("/api/metrics")
    async def metrics(model: str, start: Place = 0) -> dict[str, Any]:
        run = named(model).run
        return await asyncio.to_thread(_since, start, "metrics", run and run.metrics)

    @routes.get("/api/samples")
    async def samples(model: str, start: Place = 0) -> dict[str, Any]:
        run = named(model).run
        return await asyncio.to_thread(_since, start, "samples", run and run.course_samples)

    return routes


def _since(start: int, name: str, path: Path | None) -> dict[str, Any]:
    """The entries of a file of JSON lines from byte `start` on, and the byte to go on from."""
    found, end = read_new_metrics(path, start) if path else ([], 0)
    return {name: found, "next": end}
