"""A stand-in for a server with OpenAI's interface: it grades by a rule, and errs, stalls or babbles as it is told."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

CRITERIA = ("grammar", "creativity", "consistency", "plot")

Fault = tuple[int, dict[str, str], bytes]
"""Status, headers and body of an answer."""


def grade_by_length(story: str) -> str:
    """The rule: a grade is how many words the story has, at most 10, and the plot one less."""
    words = min(10, len(story.split()))
    return json.dumps({criterion: max(0, words - (criterion == "plot")) for criterion in CRITERIA})


class JudgeServer:
    """The stand-in, serving from the start of a `with` block to its end.

    Switches:
        say: from a story to what the model says of it.
        faults: answers that are given first, one a question, in place of the model's.
        stalls: how many of the next questions are not answered before the server ends.
        drips: how many of the next answers come letter by letter, and never end.
        takes: the options beside model and messages that it does not refuse; some models take none.
        models: the names that it lists; None if it keeps no list.
        token: the key that it wants, if any.
    """

    def __init__(self) -> None:
        self.say: Callable[[str], str] = grade_by_length
        self.faults: list[Fault] = []
        self.stalls = self.drips = 0
        self.takes = {"temperature", "response_format"}
        self.models: list[str] | None = ["stand-in"]
        self.token: str | None = None
        self.questions: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = self.at_once = 0
        self.lock, self.ended = threading.Lock(), threading.Event()
        handler = type("Handler", (Handler,), {"judge": self})
        self._server = Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def stories(self) -> list[str]:
        """The story of each question, in order."""
        return [story_of(question) for question in self.questions]


def story_of(question: dict[str, Any]) -> str:
    return question["messages"][-1]["content"].removeprefix("<story>\n").removesuffix("\n</story>")


class Server(ThreadingHTTPServer):
    """Does not report connections that a client has left."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    """`GET /v1/models` and `POST /v1/chat/completions`."""

    judge: JudgeServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path != "/v1/models" or self.judge.models is None:
            return self.answer(404, {"error": {"message": "no such address"}})
        if self.refused():
            return None
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "us"} for name in self.judge.models]
        return self.answer(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            return self.answer(404, {"error": {"message": "no such address"}})
        if self.refused():
            return None
        with self.judge.lock:
            self.judge.questions.append(question)
            self.judge.headers.append(dict(self.headers))
            self.judge.at_once += 1
            self.judge.most_at_once = max(self.judge.most_at_once, self.judge.at_once)
            fault = self.judge.faults.pop(0) if self.judge.faults else None
            stalls, self.judge.stalls = self.judge.stalls > 0, max(0, self.judge.stalls - 1)
            drips, self.judge.drips = self.judge.drips > 0, max(0, self.judge.drips - 1)
        if drips:
            return self.drip()
        try:
            return self.answer_question(question, fault, stalls)
        finally:
            with self.judge.lock:
                self.judge.at_once -= 1

    def answer_question(self, question: dict[str, Any], fault: Fault | None, stalls: bool) -> None:
        if stalls:
            self.judge.ended.wait(30)
            return None
        if fault:
            return self.send(*fault)
        if refused := set(question) - {"model", "messages"} - self.judge.takes:
            return self.answer(400, {"error": {"message": f"unsupported: {min(refused)}"}})
        message = {"role": "assistant", "content": self.judge.say(story_of(question))}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": question["model"], "choices": [choice]}
        return self.answer(200, answer)

    def drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.judge.ended.wait(0.05):
            self.wfile.write(b" ")

    def refused(self) -> bool:
        """Whether the key is not the right one; a careless server repeats it."""
        key = self.headers.get("Authorization", "")
        refused = self.judge.token is not None and key != f"Bearer {self.judge.token}"
        if refused:
            self.answer(401, {"error": {"message": f"wrong key: {key}"}})
        return refused

    def answer(self, status: int, value: Any) -> None:
        self.send(status, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
