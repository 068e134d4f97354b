"""The application: OpenAI's routes, the page and what it asks for, health and metrics."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.generation.decoding import Decoding, sample_seed
from tinytale.generation.stories import Writer, opened
from tinytale.inspection.page_data import page_data
from tinytale.model.folder import load_model
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder, model_folder
from tinytale.serve.answers import Answer, Telling
from tinytale.serve.look_page import WEB
from tinytale.serve.page_routes import page_routes
from tinytale.serve.scheduler import ClosingError, Job, QueueFullError, Scheduler
from tinytale.serve.schema import ChatRequest, CompletionRequest, LookRequest, error_body
from tinytale.training.metrics import read_metrics

LARGEST_BODY = 256 * 1024
"""Bytes of a request."""
BODY_SECONDS = 10.0
"""A request that has not arrived by then is given up."""
PAGE = {path.name: path for path in WEB.iterdir() if path.suffix in (".html", ".js", ".css", ".svg")}
"""The files of the page; no other file is ever served."""

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Served:
    """One model that is served."""

    name: str
    folder: Path
    tokenizer: Tokenizer
    scheduler: Scheduler
    context_length: int
    parameters: int

    @cached_property
    def textbook(self) -> GPT2:
        """The model with the formulas written out, for looking inside."""
        return load_model(model_folder(self.folder), "textbook")

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


def make_app(models: dict[str, Served]) -> FastAPI:
    """The application that serves these models, by name."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    looking = asyncio.Semaphore(1)

    def named(name: str) -> Served:
        if name not in models:
            raise RequestError(404, f"there is no model of that name; here are {', '.join(models)}")
        return models[name]

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Response:
        kind = "server_error" if error.status >= 500 else "invalid_request_error"
        return JSONResponse(error_body(str(error), kind), error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        return JSONResponse(error_body(error.detail, "invalid_request_error"), error.status_code, error.headers)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def counts() -> Response:
        return PlainTextResponse(metrics_text(models), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [described(model) for model in models.values()]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        return described(named(name))

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        asked = await body_of(request, CompletionRequest)
        return await tell(request, asked, named(asked.model), asked.logprobs or 0)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = await body_of(request, ChatRequest)
        return await tell(request, asked, named(asked.model), asked.top_logprobs or 0)

    @app.post("/api/look")
    async def look(request: Request) -> Response:
        asked = await body_of(request, LookRequest)
        model = named(asked.model)
        tokens = tokens_of(model, asked.text)
        async with looking:
            data = await asyncio.to_thread(page_data, model.textbook, model.tokenizer, tokens)
        return JSONResponse(data)

    @app.get("/api/metrics")
    async def metrics(model: str, start: int = 0) -> dict[str, Any]:
        run = named(model).run
        found = await asyncio.to_thread(lambda: list(read_metrics(run.metrics))) if run else []
        return {"metrics": found[max(0, start) :], "next": len(found)}

    app.include_router(page_routes(named, body_of))

    @app.get("/")
    @app.get("/{name}")
    async def page(name: str = "index.html") -> Response:
        if name not in PAGE:
            raise HTTPException(404, "there is nothing of that name")
        return FileResponse(PAGE[name])

    return app


def described(model: Served) -> dict[str, Any]:
    """A model as OpenAI lists it, and what the page wants to know."""
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "tinytale",
        "context_length": model.context_length,
        "parameters": model.parameters,
        "run": model.run is not None,
    }


def metrics_text(models: dict[str, Served]) -> str:
    """Counters and gauges in Prometheus' text format."""
    lines = []
    for name, kind, read in (
        ("tinytale_stories_total", "counter", lambda s: s.counters.stories),
        ("tinytale_tokens_total", "counter", lambda s: s.counters.tokens),
        ("tinytale_cancelled_total", "counter", lambda s: s.counters.cancelled),
        ("tinytale_failed_total", "counter", lambda s: s.counters.failed),
        ("tinytale_telling", "gauge", lambda s: s.telling),
        ("tinytale_waiting", "gauge", lambda s: s.waiting),
    ):
        lines.append(f"# TYPE {name} {kind}")
        lines += [f"{name}{{model={json.dumps(model.name)}}} {read(model.scheduler)}" for model in models.values()]
    return "\n".join(lines) + "\n"


async def body_of(request: Request, kind: type[Body]) -> Body:
    """The request's body as what it should be, within bounds of size and time.

    Raises:
        RequestError: it is too large, too slow, or something else.
    """
    content = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > LARGEST_BODY:
                    raise RequestError(413, f"the request is larger than {LARGEST_BODY:,} bytes")
    except TimeoutError as error:
        raise RequestError(408, f"the request has not arrived within {BODY_SECONDS:.0f} seconds") from error
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"][:3])
        raise RequestError(400, f"{place}: {first['msg']}" if place else first["msg"]) from error


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
        raise RequestError(400, f"the text has {len(tokens)} tokens, the model can look at {model.context_length}")
    return tokens


def jobs_of(asked: CompletionRequest | ChatRequest, model: Served, tokens: list[int], alternatives: int) -> list[Job]:
    """A job for each choice.

    Raises:
        RequestError: prompt and new tokens together are more than the model can look at.
    """
    room = model.context_length - len(tokens)
    wanted = max(1, room) if asked.max_tokens is None else asked.max_tokens
    if wanted > max(1, room):
        raise RequestError(
            400,
            f"the prompt has {len(tokens)} tokens and max_tokens is {wanted}; together they may be"
            f" {model.context_length}",
        )
    decoding = Decoding(
        greedy=asked.temperature == 0,
        temperature=asked.temperature or 1.0,
        top_k=asked.top_k,
        top_p=asked.top_p,
        min_p=asked.min_p,
    )
    return [
        Job(
            prompt=tokens,
            writer=Writer(decoding.choice(), model.tokenizer, asked.stops, alternatives),
            generator=sample_seed(asked.seed or 0, index),
            max_new_tokens=wanted,
        )
        for index in range(asked.n)
    ]


async def tell(request: Request, asked: CompletionRequest | ChatRequest, model: Served, alternatives: int) -> Response:
    """Answer a request for stories, whole or piece by piece."""
    try:
        tokens = tokens_of(model, asked.text)
        jobs = jobs_of(asked, model, tokens, alternatives)
    except TaleError as error:
        raise RequestError(400, str(error)) from error
    changed, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_change() -> None:
        with suppress(RuntimeError):  # the loop has ended with the server
            loop.call_soon_threadsafe(changed.set)

    for job in jobs:
        job.on_change = on_change
    try:
        model.scheduler.submit(jobs)
    except QueueFullError as error:
        raise RequestError(429, str(error), {"Retry-After": "1"}) from error
    except ClosingError as error:
        raise RequestError(503, str(error), {"Retry-After": "5"}) from error
    answer = Answer(asked, model.tokenizer, len(tokens))
    tellings = [Telling(job, index) for index, job in enumerate(jobs)]
    if asked.stream:
        return StreamingResponse(_pieces(answer, tellings, changed), media_type="text/event-stream")
    return await _whole(request, answer, tellings, changed)


async def _whole(request: Request, answer: Answer, tellings: list[Telling], changed: asyncio.Event) -> Response:
    gone = asyncio.create_task(_disconnected(request))
    try:
        while not all(telling.job.done for telling in tellings):
            waiting = asyncio.create_task(changed.wait())
            await asyncio.wait([waiting, gone], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if gone.done():
                return Response(status_code=499)
            changed.clear()
    finally:
        gone.cancel()
        for telling in tellings:
            telling.job.cancelled = True
    for telling in tellings:
        if telling.job.error:
            raise RequestError(500, f"the story could not be told: {telling.job.error}")
    return JSONResponse(answer.whole(tellings))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _pieces(answer: Answer, tellings: list[Telling], changed: asyncio.Event) -> AsyncIterator[str]:
    """Server-sent events; when the client goes, the generator is closed, and the stories with it."""
    going = list(tellings)
    try:
        while going:
            await changed.wait()
            changed.clear()
            for telling in list(going):
                if telling.job.error:
                    failed = error_body(f"the story could not be told: {telling.job.error}", "server_error")
                    yield f"data: {json.dumps(failed)}\n\n"
                elif piece := answer.piece(telling):
                    yield f"data: {json.dumps(piece, ensure_ascii=False)}\n\n"
                if telling.over or telling.job.error:
                    going.remove(telling)
        if answer.request.usage_at_the_end:
            yield f"data: {json.dumps(answer.last_piece(tellings))}\n\n"
        yield "data: [DONE]\n\n"
    finally:
        for telling in tellings:
            telling.job.cancelled = True
