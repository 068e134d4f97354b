"""What the page asks for beside stories and looks: how a text is split, and what a run told while it trained."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, StringConstraints

from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import UsageError
from tinytale.inspection.split import split_data
from tinytale.runs import RunFolder
from tinytale.training.metrics import read_metrics

LONGEST_TEXT = 4_000
"""Characters whose split is shown: each may be four tokens, and every token is an element of the page."""


class TokensRequest(BaseModel):
    """`POST /api/tokens`."""

    model_config = ConfigDict(strict=True)

    model: str
    text: Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]


class Model(Protocol):
    """What these routes need of a model that is served."""

    @property
    def tokenizer(self) -> Tokenizer: ...  # noqa: D102

    @property
    def run(self) -> RunFolder | None: ...  # noqa: D102


def page_routes(
    named: Callable[[str], Model], body_of: Callable[[Request, type[TokensRequest]], Awaitable[TokensRequest]]
) -> APIRouter:
    """The routes; `named` finds a model, `body_of` reads a body within bounds; both refuse as they do elsewhere."""
    routes = APIRouter()

    @routes.post("/api/tokens")
    async def tokens(request: Request) -> dict[str, Any]:
        asked = await body_of(request, TokensRequest)
        try:
            return await asyncio.to_thread(split_data, named(asked.model).tokenizer, asked.text)
        except UsageError as error:
            raise HTTPException(400, str(error)) from error

    @routes.get("/api/samples")
    async def samples(model: str, start: int = 0) -> dict[str, Any]:
        run = named(model).run
        found = await asyncio.to_thread(lambda: list(read_metrics(run.course_samples))) if run else []
        return {"samples": found[max(0, start) :], "next": len(found)}

    return routes
