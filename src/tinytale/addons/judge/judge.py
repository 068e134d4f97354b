"""A language model as judge, behind any server with OpenAI's interface, asked through OpenAI's own client.

The client repeats a request that failed on the way or met a busy or failing server, as long after as the server says;
this file repeats one whose answer makes no sense. Nothing is sent but the question and the key.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tinytale.addons.judge.rubric import SCHEMA, Grades, UngradedError, question, read_grades
from tinytale.advice import installation
from tinytale.errors import TaleError, UsageError

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAIError

KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key; a local server needs none."""

GIVE_UP = 20
"""Texts without grades in a row, after which the judge is not asked any more."""

TEMPERATURE: dict[str, Any] = {"temperature": 0}
FORM: dict[str, Any] = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "grades", "strict": True, "schema": SCHEMA}}
}
OPTIONS = (TEMPERATURE | FORM, TEMPERATURE, FORM, {})
"""What a server is asked with; one that refuses the first is asked with the next."""


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """Which judge, and how patiently it is asked."""

    url: str
    """Where the interface begins: `http://localhost:8000/v1`."""
    model: str | None = None
    """The server's name for the model. Default: the only one that it has."""
    at_once: int = 4
    """Questions under way at the same time."""
    retries: int = 3
    """Further attempts at a text: of a request that fails, and of an answer without grades."""
    timeout: float = 300.0
    """Seconds until the server must have said something."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise UsageError(
                "--judge is not the address of a server; expected something like http://localhost:8000/v1,"
                f" and the key, if it needs one, in {KEY}"
            )


def find_model(settings: JudgeSettings) -> str:
    """The model to ask; the server is visited, so that what is wrong with it shows before any work is done.

    Raises:
        UsageError: there are several models, and none was named.
        TaleError: the server does not answer, or refuses the key.
    """
    return asyncio.run(_find_model(settings))


def ask_all(
    settings: JudgeSettings, model: str, texts: Iterable[str], heard: Callable[[str, Grades | str, Sequence[str]], None]
) -> None:
    """Ask for the grades of each text.

    `heard` gets the text, its grades or why there are none, and the names of the options that the server was asked
    with, as they come.

    Raises:
        TaleError: the judge refuses to be asked, or has given no grades for many texts in a row.
    """
    asyncio.run(_ask_all(settings, model, texts, heard))


async def _find_model(settings: JudgeSettings) -> str:
    import openai

    async with _client(settings) as client:
        try:
            names = [model.id async for model in client.models.list()]
        except (openai.NotFoundError, AttributeError, TypeError, ValueError):  # no list, or none that can be read
            names = []
        except openai.OpenAIError as error:
            failed = TaleError(f"the judge at {settings.url} does not answer ({_reason(error)}); is it running?")
            raise _refusal(error, settings.url) or failed from error
    if settings.model:
        return settings.model
    if len(names) != 1:
        listed = ", ".join(names[:10]) or "none that it lists"
        raise UsageError(f"the judge at {settings.url} has these models: {listed}; name one with --judge-model")
    return names[0]


async def _ask_all(
    settings: JudgeSettings, model: str, texts: Iterable[str], heard: Callable[[str, Grades | str, Sequence[str]], None]
) -> None:
    waiting, in_a_row = iter(texts), 0

    async def work(judge: Judge) -> None:
        nonlocal in_a_row
        for text in waiting:
            try:
                answer, in_a_row = await judge.grades(text), 0
            except UngradedError as error:
                answer, in_a_row = str(error), in_a_row + 1
            heard(text, answer, sorted(judge.options))
            if in_a_row >= GIVE_UP:
                raise TaleError(
                    f"the judge at {settings.url} gave no grades for {GIVE_UP} texts in a row (the last: {answer});"
                    " see to it and try again: the grades so far are kept"
                )

    async with _client(settings) as client:
        judge = Judge(client, model, settings)
        workers = [asyncio.create_task(work(judge)) for _ in range(settings.at_once)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


class Judge:
    """One model of one server."""

    def __init__(self, client: "AsyncOpenAI", model: str, settings: JudgeSettings):
        self._client, self._model, self._settings = client, model, settings
        self.options = OPTIONS[0]
        """What the server has not refused so far."""

    async def grades(self, text: str) -> Grades:
        """The grades of a text.

        Raises:
            UngradedError: there are none after every attempt.
            TaleError: the server refuses to be asked at all.
        """
        attempts = 1 + self._settings.retries
        try:
            async with asyncio.timeout(2 * attempts * self._settings.timeout):  # a reply that drips never ends
                for left in reversed(range(attempts)):
                    reply = await self._reply(text)
                    try:
                        return read_grades(reply)
                    except UngradedError:
                        if not left:
                            raise
        except TimeoutError as error:
            raise UngradedError("timed out") from error
        raise AssertionError("the last attempt returns or raises")

    async def _reply(self, text: str) -> str:
        """What the model says; nothing, if it is not said in the way of this interface."""
        import openai

        messages: Any = question(text)

        async def ask(**options: Any) -> Any:
            return await self._client.chat.completions.create(model=self._model, messages=messages, **options)

        try:
            answer = await self._ask_with_what_is_taken(ask)
        except openai.OpenAIError as error:
            if refusal := _refusal(error, self._settings.url):
                raise refusal from error
            raise UngradedError(_reason(error)) from error
        except (ValueError, RecursionError):  # not JSON, though it says so
            return ""
        try:
            reply = answer.choices[0].message.content
        except (AttributeError, IndexError, TypeError):
            return ""
        return reply if isinstance(reply, str) else ""

    async def _ask_with_what_is_taken(self, ask: Callable[..., Awaitable[Any]]) -> Any:
        import openai

        for options in OPTIONS[OPTIONS.index(self.options) :]:
            try:
                answer = await ask(**options)
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                if not options:
                    raise
            else:
                self.options = options
                return answer
        raise AssertionError("the last attempt returns or raises")


@asynccontextmanager
async def _client(settings: JudgeSettings) -> AsyncIterator["AsyncOpenAI"]:
    if not find_spec("openai"):
        raise TaleError(f"openai is not installed, which --judge needs; install it: {installation('judge', 'openai')}")
    from openai import AsyncOpenAI

    key = os.environ.get(KEY, "").strip() or "none"
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"{KEY} holds characters that are in no key; set it anew")
    async with AsyncOpenAI(
        base_url=settings.url, api_key=key, max_retries=settings.retries, timeout=settings.timeout
    ) as client:
        yield client


def _refusal(error: "OpenAIError", url: str) -> TaleError | None:
    """What ends the asking, in our own words (a server's may repeat the key); None if another text may fare better."""
    match getattr(error, "status_code", None):
        case 401 | 403 as status:
            return TaleError(f"the judge at {url} refuses access ({status}); set {KEY} to a key of it")
        case 404:
            return TaleError(
                f"the judge at {url} knows no such model or address (404); see to --judge-model, and that the address"
                " is the one that ends in /v1"
            )
    return None


def _reason(error: "OpenAIError") -> str:
    import openai

    match error:
        case openai.APITimeoutError():
            return "timed out"
        case openai.APIConnectionError():
            return "no connection"
        case openai.APIStatusError(status_code=status):
            return f"status {status}"
    return "an answer that is not of this interface"
