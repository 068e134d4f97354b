"""People who ask a server for stories over HTTP and read them as they come: each in a thread, all at once."""

import http.client
import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tinytale.errors import TaleError

BEGINNINGS = (
    "Once upon a time, there was a little",
    "One day, Tom and his dog went to",
    "Lily had a big red ball that she",
    "The sun was up and the birds were",
    "There was a cat who liked to sleep",
    "Ben wanted to help his mom make a",
    "In the forest lived a small bear who",
    "Anna and Max found a box in the",
    "A kind old man had a garden with",
    "It was raining, so Sue and her dad",
)
"""How stories begin; more than these people begin again with the first."""


EVENT = b"data: {"
"""What a server-sent event with content begins with."""


@dataclass(frozen=True)
class Heard:
    """One story, as a client got it."""

    text: str
    tokens: int
    first_seconds: float
    """From before the request, and the connection if it is the first, to the first piece."""


@dataclass(frozen=True)
class Server:
    """Where stories are asked for."""

    host: str
    port: int
    model: str

    def tokens_told(self) -> int:
        """Tokens of all its stories since it began, as it counts them itself.

        Raises:
            TaleError: it does not say.
        """
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.port}/metrics", timeout=60) as answer:
                counts = answer.read().decode()
        except OSError as error:
            raise TaleError(f"the server does not say how much it has told: {error}") from error
        told = re.findall(r"^tinytale_tokens_total\{.*\} (\d+)$", counts, re.MULTILINE)
        if not told:
            raise TaleError("the server's metrics do not say how many tokens it has told")
        return sum(map(int, told))


class Person:
    """One who asks for stories one after another, over one connection: so do browsers and OpenAI's client."""

    def __init__(self, server: Server):
        self.server = server
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=60)

    def __enter__(self) -> "Person":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def tell(self, prompt: str, settings: dict[str, Any], at_first: Callable[[], object] = lambda: None) -> Heard:
        """Ask for one story, streamed.

        Raises:
            TaleError: the server refuses, or breaks off.
        """
        asked = {"model": self.server.model, "prompt": prompt, **settings}
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        begun, first, heard = time.perf_counter(), None, b""
        try:
            self._connection.request("POST", "/v1/completions", json.dumps(asked), {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            if answer.status != 200:
                raise TaleError(f"the server answers {answer.status}: {answer.read(200).decode('utf-8', 'replace')}")
            while more := answer.read1():
                heard += more
                if first is None and EVENT in heard:
                    first = time.perf_counter() - begun
                    at_first()
        except (OSError, http.client.HTTPException) as error:
            raise TaleError(f"the server breaks off: {str(error) or type(error).__name__}") from error
        events = [json.loads(line.removeprefix(b"data: ")) for line in heard.splitlines() if line.startswith(EVENT)]
        usage = next((event["usage"] for event in reversed(events) if event.get("usage")), None)
        if first is None or usage is None:
            raise TaleError("the server's stream has ended before its story")
        text = "".join(choice["text"] for event in events for choice in event.get("choices", ()))
        return Heard(text, usage["completion_tokens"], first)


def tell_all(server: Server, people: Sequence[Sequence[tuple[str, dict[str, Any]]]]) -> list[list[Heard]]:
    """Each of these people asks for some stories (prompt and settings), one after another; all at the same time."""

    def person(stories: Sequence[tuple[str, dict[str, Any]]]) -> list[Heard]:
        with Person(server) as asking:
            return [asking.tell(*story) for story in stories]

    with ThreadPoolExecutor(len(people)) as threads:
        return list(threads.map(person, people))


def seconds_a_token(server: Server, people: Sequence[Sequence[tuple[str, dict[str, Any]]]]) -> float:
    """While all of these people have a story that is being told: until the first of them has heard all of his.

    Later there are fewer than were meant to load the server, and how much fewer depends on the stories.
    """
    before, began, end = server.tokens_told(), time.perf_counter(), []

    def person(stories: Sequence[tuple[str, dict[str, Any]]]) -> None:
        with Person(server) as asking:
            for story in stories:
                asking.tell(*story)
        with mine:
            if not end:
                end.extend((server.tokens_told(), time.perf_counter()))

    mine = threading.Lock()
    with ThreadPoolExecutor(len(people)) as threads:
        list(threads.map(person, people))
    told, ended = end
    return (ended - began) / (told - before)


def newcomers(
    server: Server, people: Sequence[Sequence[tuple[str, dict[str, Any]]]], newcomer: tuple[str, dict[str, Any]]
) -> list[float]:
    """Seconds to the first piece for one more person, who comes while all of these are told, again and again."""
    began = threading.Barrier(len(people) + 1)
    waits = []

    def person(stories: Sequence[tuple[str, dict[str, Any]]]) -> None:
        (prompt, settings), *others = stories
        with Person(server) as asking:
            asking.tell(prompt, settings, began.wait)
            for story in others:
                asking.tell(*story)

    with ThreadPoolExecutor(len(people)) as threads:
        told = [threads.submit(person, stories) for stories in people]
        began.wait(60)
        while True:
            with Person(server) as asking:
                waits.append(asking.tell(*newcomer).first_seconds)
            if any(story.done() for story in told):
                break
            time.sleep(0.05)
        for story in told:
            story.result()
    return waits
