"""Real processes, a tiny model: a server and its decoder alone tell the same stories."""

import http.server
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bench.conditions import Conditions
from bench.exports import random_model
from bench.people import Person, Server, newcomers, seconds_a_token, tell_all
from bench.serving import serving_result, serving_table, time_serving
from bench.serving_worker import DECODER, SERVER, ServingRequest, contest
from bench.sizes import Size
from bench.turns import Measured
from tinytale.errors import TaleError

COUNTER = "tinytale_tokens_total"
TINY = Size(layers=2, width=32, heads=2, context_length=64, vocab_size=300, batch_size=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("serving") / "model"
    random_model(TINY, made)
    return str(made)


def test_a_server_tells_what_its_decoder_tells(folder: str):
    said: list[str] = []
    measured = time_serving(folder, 3, 2, 8, Conditions(threads=1, rounds=1), said.append)
    assert said == ["setting up decoder", "setting up server", "round 1 of 1: decoder", "round 1 of 1: server"]
    assert [len(texts) for texts in measured[DECODER].facts["texts"].values()] == [6, 6]
    assert len(measured[DECODER].rounds[0]) == 2
    result = serving_result(TINY.model, 3, 2, 8, 1, measured)
    assert result["greedy"]["ratio"] > 0 and result["first_token_seconds"]["newcomers"] >= 1
    json.dumps(result, allow_nan=False)


def measured(texts: str = "a") -> dict[str, Measured]:
    facts = {"texts": {"greedy": ["a"], "drawn": ["b"]}, "decoder": "ours, int8"}
    alone = Measured(1.0, facts, [[1.0, 4.0], [2.0, 4.0], [1.0, 4.0]])
    served = Measured(1.0, {"texts": {"greedy": [texts], "drawn": ["b"]}})
    served.rounds = [[2.0, 5.0, 0.1, 0.2], [2.0, 5.0, 0.3], [1.25, 5.0, 0.9]]
    return {DECODER: alone, SERVER: served}


def test_the_figures_by_hand_made_numbers():
    result = serving_result(TINY.model, 10, 3, 128, 2, measured())
    assert result["greedy"] == {
        "decoder_tokens_per_second": 1,
        "server_tokens_per_second": 0.5,
        "ratio": 0.8,
    }
    assert result["drawn"]["ratio"] == 0.8 and result["drawn"]["server_tokens_per_second"] == 0.2
    assert result["first_token_seconds"] == {"newcomers": 4, "median": 0.25, "95%": 0.3, "worst": 0.9}
    console = Console(width=90)
    with console.capture() as said:
        console.print(serving_table(result))
    assert "900 ms (worst)" in " ".join(said.get().split()) and "…" not in said.get()


def test_other_stories_are_no_measurement():
    with pytest.raises(TaleError, match="told other stories"):
        serving_result(TINY.model, 10, 3, 128, 2, measured("another"))


def test_a_request_survives_the_pipe():
    asked = ServingRequest(contender=SERVER, folder="x", people=10, stories=3, new_tokens=8)
    assert ServingRequest.from_json(asked.to_json()) == asked


def test_a_server_that_does_not_come_up_is_told_of(tmp_path: Path):
    asked = ServingRequest(contender=SERVER, folder=str(tmp_path / "none"), people=1, stories=1, new_tokens=1)
    with pytest.raises(TaleError, match="does not come up"):
        contest(asked.to_json())


@pytest.fixture
def faulty():
    """A server that answers what the model's name says; ten tokens are told between two looks at its metrics."""
    counts = [7]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, content = json.loads(body["model"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content.encode())

        def do_GET(self) -> None:
            counts.append(counts[-1] + 10)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f'# TYPE {COUNTER} counter\n{COUNTER}{{model="a"}} {counts[-1]}\n'.encode())

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield lambda status, content: Server("127.0.0.1", server.server_port, json.dumps([status, content]))
        server.shutdown()


def test_a_client_says_what_went_wrong(faulty: Callable[[int, str], Server]):
    with pytest.raises(TaleError, match="the server answers 429: too many"):
        Person(faulty(429, "too many")).tell("", {})
    with pytest.raises(TaleError, match="has ended before its story"):
        Person(faulty(200, 'data: {"choices": [{"text": "a"}]}\n\n')).tell("", {})
    with pytest.raises(TaleError, match="breaks off"):
        Person(Server("127.0.0.1", 1, "x")).tell("", {})


def test_a_client_reads_what_comes(faulty: Callable[[int, str], Server]):
    events = [{"choices": [{"text": "Once"}]}, {"choices": [{"text": " upon"}]}]
    events.append({"choices": [], "usage": {"completion_tokens": 2}})
    server = faulty(200, "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n")
    ((one, two),) = tell_all(server, [[("", {}), ("", {})]])
    assert one.text == two.text == "Once upon" and one.tokens == 2 and one.first_seconds > 0
    waits = newcomers(server, [[("", {})]], ("", {}))
    assert waits and min(waits) > 0


def test_time_counts_until_the_first_person_has_heard_all(faulty: Callable[[int, str], Server], monkeypatch):
    server = faulty(200, "")
    told, all_told = threading.Semaphore(0), threading.Event()

    def tell(self: Person, prompt: str, settings: dict) -> None:
        if prompt == "long":
            assert all_told.wait(30)
        told.release()

    def watch() -> None:
        told.acquire()
        told.acquire()
        time.sleep(2)
        all_told.set()

    monkeypatch.setattr(Person, "tell", tell)
    threading.Thread(target=watch).start()
    began = time.perf_counter()
    seconds = seconds_a_token(server, [[("short", {}), ("short", {})], [("long", {})]])
    assert 0 < seconds < (time.perf_counter() - began - 1) / 10


def test_a_server_that_does_not_count_is_told_of(faulty: Callable[[int, str], Server], monkeypatch):
    monkeypatch.setattr(f"{__name__}.COUNTER", "another")
    with pytest.raises(TaleError, match="do not say how many tokens"):
        faulty(200, "").tokens_told()
    with pytest.raises(TaleError, match="does not say how much"):
        Server("127.0.0.1", 1, "x").tokens_told()


def test_the_command_writes_what_it_prints(tale: Callable, folder: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("bench.serving.take_turns", lambda *_: measured())
    out = tmp_path / "new" / "serve.json"
    done = tale("bench", "serve", folder, "--rounds=3", "--out", out, "--json")
    assert done.code == 0 and json.loads(done.out) == json.loads(out.read_text(encoding="utf-8"))
    assert json.loads(done.out)["people"] == 10
    seen = tale("bench", "serve", folder)
    assert seen.out == "" and "10 people at once" in seen.err
    assert tale("bench", "serve", folder, "--people=0").code == 2
