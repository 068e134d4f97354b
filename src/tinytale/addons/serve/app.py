"""The application: OpenAI's routes, the page and what it asks for, health and metrics."""

import asyncio
import json
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from tinytale.addons.inspection.page_data import page_data
from tinytale.addons.serve.asking import RequestError, Served, body_of, first_fault, tokens_of
from tinytale.addons.serve.failure import tell_of_failure
from tinytale.addons.serve.look_page import WEB
from tinytale.addons.serve.own_thread import apart
from tinytale.addons.serve.page_routes import page_routes
from tinytale.addons.serve.schema import ChatRequest, CompletionRequest, LookRequest, error_body
from tinytale.addons.serve.telling import tell

MOST_LOOK_TOKENS = 512
"""Of a text that is looked into: attention grows with their square."""
MOST_LOOKS = 8
"""Texts that may be looked into or wait for it; one at a time is."""

PAGE = {path.name: path for path in WEB.iterdir() if path.suffix in (".html", ".js", ".css", ".svg")}
"""The files of the page; no other file is ever served."""


def make_app(models: dict[str, Served]) -> FastAPI:
    """The application that serves these models, by name."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    looking, looks = asyncio.Semaphore(1), 0

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

    @app.exception_handler(RequestValidationError)
    async def misread(request: Request, error: RequestValidationError) -> Response:
        return JSONResponse(error_body(first_fault(list(error.errors())), "invalid_request_error"), 400)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        tell_of_failure(error)
        return JSONResponse(error_body(f"the server has failed: {type(error).__name__}", "server_error"), 500)

    @app.head("/health", include_in_schema=False)
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
        return await tell(request, asked, named(asked.model))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = await body_of(request, ChatRequest)
        return await tell(request, asked, named(asked.model))

    @app.post("/api/look")
    async def look(request: Request) -> Response:
        asked = await body_of(request, LookRequest)
        model = named(asked.model)
        tokens = tokens_of(model, asked.text)
        if len(tokens) > MOST_LOOK_TOKENS:
            raise RequestError(400, f"the text has {len(tokens)} tokens; at most {MOST_LOOK_TOKENS} are looked into")
        nonlocal looks
        if looks == MOST_LOOKS:
            raise RequestError(429, f"{looks} texts are being looked into already", {"Retry-After": "1"})
        looks += 1
        try:
            async with looking:
                return await asyncio.to_thread(
                    apart, lambda: JSONResponse(page_data(model.textbook, model.tokenizer, tokens))
                )
        finally:
            looks -= 1

    app.include_router(page_routes(named))

    @app.head("/", include_in_schema=False)
    @app.head("/{name}", include_in_schema=False)
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
        "parameters": model.model.parameter_count(),
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
