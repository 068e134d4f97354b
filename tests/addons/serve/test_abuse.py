"""What a hostile client may try with one request: paths, hosts, keys, names, limits."""

import base64
import http.client
import itertools
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import psutil
import pytest

from tinytale.addons.serve.app import MOST_LOOKS
from tinytale.addons.serve.guard import Guard, check_key
from tinytale.addons.serve.schema import LONGEST_PROMPT


def asked(url: str, method: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None):
    """Status, headers and body; the target is sent as it is."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.putrequest(method, target, skip_host="Host" in (headers or {}))
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def traversals() -> list[str]:
    """200 ways out of a folder, as request targets."""
    ups = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "....//", "%252e%252e%252f", "..%c0%af", "..;/"]
    files = ["pyproject.toml", "app.py", "etc/passwd", "proc/self/environ", "model.safetensors"]
    climbing = [f"/{up * depth}{file}" for up, depth, file in itertools.product(ups, (1, 2, 8), files)]
    absolute = [f"/{root}{file}" for root in ("/", "%2f", "C:/", "C:%5c", "file:///", "~/", "./") for file in files]
    mixed = [f"/{name}/../{file}" for name in ("app.js", "v1", "api") for file in files]
    return [*climbing, *absolute, "/app.js%00", "/app.js%00.html", "/%00", "/app.js/", "/.", *mixed][:200]


def test_no_way_out_of_the_page(server):
    targets = traversals()
    assert len(targets) == len(set(targets)) == 200
    for target in targets:
        assert asked(server.url, "GET", target.replace("\\", "%5c"))[0] in (400, 404), target
        name = quote(target, safe="%")
        for place in (f"/v1/models/{name}", f"/api/metrics?model={name}"):
            status, _, content = asked(server.url, "GET", place)
            assert status == 404 and json.loads(content)["error"], place


def test_no_address_in_a_request_is_ever_fetched(server):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.3)
        there = f"http://127.0.0.1:{trap.getsockname()[1]}/x"
        body = json.dumps({"model": there, "prompt": there, "text": there, "user": there, "image": {"url": there}})
        for path in ("/v1/completions", "/v1/chat/completions", "/api/look"):
            headers = {"Referer": there, "X-Forwarded-Host": there, "Forwarded": f"host={there}"}
            assert asked(server.url, "POST", path, headers, body.encode())[0] in (400, 404)
        assert asked(server.url, "GET", f"/api/metrics?model={quote(there)}")[0] == 404
        assert asked(server.url, "GET", there)[0] == 404  # as a proxy would be asked
        with pytest.raises(TimeoutError):
            trap.accept()


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "evil.example:80", "[::1", "", "0.0.0.0"]
)
def test_a_name_that_is_not_ours_is_refused(server, host: str):
    assert asked(server.url, "GET", "/", {"Host": host})[0] == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000"])
def test_our_own_names_are_not(server, host: str):
    assert asked(server.url, "GET", "/", {"Host": host})[0] == 200


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://localhost.evil.example", "", "http://"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_site_is_refused(server, origin: str, method: str):
    status, headers, _ = asked(server.url, method, "/v1/completions", {"Origin": origin}, b"{}")
    assert status == 403
    assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/health", "/app.js"])
def test_what_can_be_read_can_be_asked_for_without_its_content(server, path: str):
    read, asked_for = asked(server.url, "GET", path), asked(server.url, "HEAD", path)
    assert asked_for[0] == read[0] == 200 and asked_for[2] == b"" != read[2]
    assert asked_for[1]["content-length"] == str(len(read[2]))


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/", "/health", "/v1/completions"])
def test_other_methods_are_refused_in_openais_form(server, method: str, path: str):
    status, _, content = asked(server.url, method, path)
    assert status == 405
    assert json.loads(content)["error"]["type"] == "invalid_request_error"


def test_a_story_cannot_be_asked_for_without_its_content(server):
    assert asked(server.url, "HEAD", "/v1/completions")[0] == 405


@pytest.mark.parametrize(
    "query", ["", "model=", "model=x&start=abc", "model=x&start=" + "9" * 5000, "model=x&start=1e9", "start=%00"]
)
def test_questions_that_make_no_sense_are_refused_in_openais_form(server, query: str):
    status, _, content = asked(server.url, "GET", f"/api/metrics?{query}")
    assert status in (400, 404) and len(content) < 500
    assert json.loads(content)["error"]["type"] == "invalid_request_error"


def test_any_content_type_is_json(server, model: Path):
    body = json.dumps({"model": str(model), "max_tokens": 1}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "\xff"):
        assert asked(server.url, "POST", "/v1/completions", {"Content-Type": kind}, body)[0] == 200


LIMITS = {
    "stop of 10,000 characters": {"stop": "x" * 10_000},
    "five stops": {"stop": ["a", "b", "c", "d", "e"]},
    "no stop in a list": {"stop": [""]},
    "a seed beyond 63 bits": {"seed": 2**63},
    "a seed below zero": {"seed": -1},
    "a seed of half": {"seed": 0.5},
    "n of truth": {"n": True},
    "n of a billion": {"n": 10**9},
    "all tokens": {"max_tokens": 10**18},
    "a penalty of nothing": {"repetition_penalty": 0},
    "a penalty beyond numbers": {"repetition_penalty": 1e300},
    "top_k of less than nothing": {"top_k": -2},
    "all but one token": {"max_tokens": -2},
    "a number of log-probabilities that is none": {"logprobs": True},
    "logprobs": {"logprobs": 6},
    "a prompt in parts": {"prompt": ["a", "b"]},
    "a prompt of numbers": {"prompt": [1, 2]},
    "a prompt too long": {"prompt": "x" * (LONGEST_PROMPT + 1)},
}


@pytest.mark.parametrize("settings", LIMITS.values(), ids=LIMITS)
def test_every_setting_has_bounds(server, model: Path, settings: dict):
    answer = httpx2.post(f"{server.url}/v1/completions", json={"model": str(model), **settings})
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"


def test_what_shapes_a_draw_does_not_count_where_nothing_is_drawn(server, model: Path):
    body = {"model": str(model), "temperature": 0, "min_p": 0, "max_tokens": 2}
    assert httpx2.post(f"{server.url}/v1/completions", json=body).status_code == 200


def test_many_turns_are_together_no_longer_than_a_prompt(server, model: Path):
    turn = {"role": "user", "content": "x" * (LONGEST_PROMPT // 2)}
    answer = httpx2.post(f"{server.url}/v1/chat/completions", json={"model": str(model), "messages": [turn] * 3})
    assert answer.status_code == 400 and "together they may have 20,000" in answer.json()["error"]["message"]


@pytest.mark.parametrize("text", ["<|endoftext|>", "The cat<|endoftext|>", "<|endoftext|>" * 9])
def test_text_that_spells_the_end_of_text_is_text(server, model: Path, text: str):
    from tinytale.data.tokenizer import load_tokenizer

    body = {"model": str(model), "prompt": text, "max_tokens": 1}
    read = httpx2.post(f"{server.url}/v1/completions", json=body).json()["usage"]["prompt_tokens"]
    assert read == 1 + len(load_tokenizer(model).encode(text)) > 1 + text.count("<|endoftext|>")


def test_limits_hold_without_growing(server, model: Path, count: Callable[[int, int], int]):
    """Bodies too large, prompts too long, contexts too full: refused, and nothing of them stays."""
    process = psutil.Process(server.process.pid)
    wide = {"n": 8, "stop": ["x" * 100] * 4, "logprobs": 5, "max_tokens": 100}
    bodies = [
        b"x" * 300_000,
        json.dumps({"model": str(model), "prompt": "x" * 250_000}).encode(),
        json.dumps({"model": str(model), "prompt": "\U0001f600 " * 9_000}).encode(),
        json.dumps({"model": str(model), "stream_options": {str(n): [n] for n in range(15_000)}, **wide}).encode(),
    ]

    def round_of_all() -> list[int]:
        return [asked(server.url, "POST", "/v1/completions", {}, body)[0] for body in bodies]

    round_of_all()
    before = process.memory_info().rss
    for _ in range(count(5, 200)):
        assert round_of_all() == [413, 400, 400, 200]
    assert process.memory_info().rss - before < 100e6


def test_looks_beyond_those_that_may_wait_come_again(server, model: Path):
    body, statuses = {"model": str(model), "text": "The cat sat. " * 12}, []

    def look() -> None:
        statuses.append(httpx2.post(f"{server.url}/api/look", json=body, timeout=60).status_code)

    threads = [threading.Thread(target=look) for _ in range(4 * MOST_LOOKS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 429} and statuses.count(200) >= MOST_LOOKS
    assert httpx2.post(f"{server.url}/api/look", json=body, timeout=60).status_code == 200


@pytest.fixture
def guarded():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def status(authorization: bytes, key: str, path: str = "/") -> int:
        import asyncio

        sent = []

        async def send(message) -> None:
            sent.append(message)

        headers = [(b"host", b"x"), (b"authorization", authorization)]
        scope = {"type": "http", "path": path, "headers": headers}
        asyncio.run(Guard(app, frozenset(), key)(scope, None, send))  # pyright: ignore[reportArgumentType]
        return sent[0]["status"]

    return status


@pytest.mark.parametrize("key", ["s3cret", "schlüssel", "\U0001f511", "a:b c"])
def test_a_key_may_be_any_text(guarded, key: str):
    assert guarded(b"Bearer " + key.encode(), key) == 200
    assert guarded(b"bearer " + key.encode(), key) == 200
    assert guarded(b"Basic " + base64.b64encode(b"anyone:" + key.encode()), key) == 200
    for wrong in (
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer " + key.encode()[:-1],
        b"Basic \xff",
        b"Basic ====",
        b"Digest x",
    ):
        assert guarded(wrong, key) == 401
    assert guarded(b"", key, "/health") == 200
    assert guarded(b"", key, "/health/") == guarded(b"", key, "//health") == 401


@pytest.mark.parametrize("key", ["s3cret\n", " s3cret", "a\x00b", "a\udcffb"])
def test_a_key_that_no_header_carries_is_refused_at_the_start(tale, model: Path, key: str, monkeypatch):
    monkeypatch.setattr("os.environ", {**__import__("os").environ, "TINYTALE_API_KEY": key})
    said = tale("serve", model)
    assert said.code == 2 and "a header cannot carry that" in said.err and key.strip() not in said.err
    with pytest.raises(Exception, match="blank at an end"):
        check_key(key)


def test_every_route_wants_the_key(model: Path, guarded):
    from tinytale.addons.serve.app import make_app

    paths = set(make_app({}).openapi()["paths"])
    assert {"/metrics", "/v1/completions", "/api/look", "/api/tokens", "/"} <= paths
    for path in paths - {"/health"}:
        assert guarded(b"Bearer wrong", "s3cret", path) == 401
