"""A request for stories, from its settings to the last byte of the answer, whole or as a stream."""

import asyncio
import json
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from tinytale.addons.serve.answers import Answer, Telling
from tinytale.addons.serve.asking import RequestError, Served, tokens_of
from tinytale.addons.serve.scheduler import ClosingError, Job, QueueFullError
from tinytale.addons.serve.schema import ChatRequest, CompletionRequest, error_body
from tinytale.errors import TaleError, UsageError
from tinytale.generation.choosing import choice_for
from tinytale.generation.decoding import Decoding, random_numbers
from tinytale.generation.stories import Writer

SEND_SECONDS = 20.0
"""A client that takes nothing for so long has gone."""


def jobs_of(asked: CompletionRequest | ChatRequest, model: Served, tokens: list[int]) -> list[Job]:
    """A job for each choice; without a seed each request has one of its own.

    Raises:
        RequestError: prompt and new tokens together are more than the model can look at.
        UsageError: a setting is out of its range.
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
        repetition_penalty=asked.repetition_penalty,
    )
    choice = choice_for(decoding)
    seed = secrets.randbits(62) if asked.seed is None else asked.seed
    return [
        Job(
            prompt=tokens,
            choose=choice,
            randoms=random_numbers(seed, index),
            writer=Writer(model.tokenizer, asked.stops, asked.alternatives),
            max_new_tokens=wanted,
        )
        for index in range(asked.n)
    ]


async def tell(request: Request, asked: CompletionRequest | ChatRequest, model: Served) -> Response:
    """Answer a request for stories.

    Raises:
        RequestError: it cannot be served, or not now.
    """
    tokens = tokens_of(model, asked.text)
    try:
        jobs = jobs_of(asked, model, tokens)
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
    except UsageError as error:
        raise RequestError(400, str(error)) from error
    except QueueFullError as error:
        raise RequestError(429, str(error), {"Retry-After": "1"}) from error
    except ClosingError as error:
        raise RequestError(503, str(error), {"Retry-After": "5"}) from error
    answer = Answer(asked, model.tokenizer, len(tokens))
    tellings = [Telling(job, index) for index, job in enumerate(jobs)]
    if asked.stream:
        return EventStream(answer, tellings, changed)
    if not await _told(request.receive, tellings, changed):
        return Response(status_code=499)  # nobody is there to read it
    if failed := next((job.error for job in jobs if job.error), None):
        status = 503 if model.scheduler.closing else 500
        raise RequestError(status, f"the story could not be told: {failed}")
    return JSONResponse(answer.whole(tellings))


async def _told(receive: Receive, tellings: list[Telling], changed: asyncio.Event) -> bool:
    """Wait until all are told; whether the client has waited too."""

    async def ended() -> None:
        while not all(telling.job.done for telling in tellings):
            await changed.wait()
            changed.clear()

    return await _while_connected(ended(), receive, tellings)


class EventStream(Response):
    """Stories as server-sent events. Whatever ends the answer ends the stories: the client goes, or takes nothing."""

    def __init__(self, answer: Answer, tellings: list[Telling], changed: asyncio.Event):
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self.answer, self.tellings, self.changed = answer, tellings, changed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events (ASGI)."""
        await _while_connected(self._send(send), receive, self.tellings)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        going = list(self.tellings)
        while going:
            await self.changed.wait()
            self.changed.clear()
            events = "".join(map(self._news, going))
            going = [telling for telling in going if not telling.over]
            if not going:
                if self.answer.request.usage_at_the_end:
                    events += _event(self.answer.last_piece(self.tellings))
                events += "data: [DONE]\n\n"
            if events:
                async with asyncio.timeout(SEND_SECONDS):
                    await send({"type": "http.response.body", "body": events.encode(), "more_body": bool(going)})

    def _news(self, telling: Telling) -> str:
        if telling.job.error:
            telling.over = True
            return _event(error_body(f"the story could not be told: {telling.job.error}", "server_error"))
        piece = self.answer.piece(telling, self.tellings)
        return _event(piece) if piece else ""


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


async def _while_connected(work: Coroutine[Any, Any, None], receive: Receive, tellings: list[Telling]) -> bool:
    """Work until it is done or the client has gone; whether it is done. No story goes on after that."""

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, gone = asyncio.create_task(work), asyncio.create_task(disconnected())
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for telling in tellings:
            telling.job.cancelled = True
        working.cancel()
        gone.cancel()
    with suppress(asyncio.CancelledError, TimeoutError, OSError):
        await working
    return not working.cancelled()
