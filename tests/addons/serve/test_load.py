"""Many clients, rude clients, and the end of the server under them."""

import http.client
import json
import os
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from bench.people import Person, Server

SLOW = (
    "import time, tinytale.addons.serve.scheduler as s; real = s.next_logits\n"
    "s.next_logits = lambda *a: (time.sleep(0.01), real(*a))[1]; s.LEAST_PIECE_SECONDS = 0.1\n"
)
"""A decoder that takes a hundredth of a second for a step, and a tenth between two pieces of a story."""
IMPATIENT = (
    "import tinytale.addons.serve.server as s, tinytale.addons.serve.asking as a, tinytale.addons.serve.telling as t\n"
    "s.HEADER_SECONDS, a.BODY_SECONDS, s.SEND_SECONDS, t.SEND_SECONDS = 1, 1, 1, 1\n"
)


@pytest.fixture(scope="module")
def slow_server(start_server, model: Path):
    """Four slots, and a decoder that is slow enough to be caught at work."""
    return start_server(model, "--slots", "4", "--waiting", "300", before=SLOW)


def counters(url: str) -> dict[str, float]:
    lines = [line for line in httpx2.get(f"{url}/metrics").text.splitlines() if not line.startswith("#")]
    return {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}


def request(body: dict, path: str = "/v1/completions") -> bytes:
    content = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


@pytest.fixture
def connected():
    """`connected(url, window=bytes)`: a bare connection, closed after the test."""
    clients: list[socket.socket] = []

    def connect(url: str, window: int | None = None) -> socket.socket:
        client = socket.socket()
        clients.append(client)
        if window:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        client.settimeout(20)
        client.connect((urlsplit(url).hostname, urlsplit(url).port))
        return client

    yield connect
    for client in clients:
        client.close()


def post(url: str, body: dict | bytes, path: str = "/v1/completions") -> tuple[int, dict[str, str], dict]:
    """Status, headers and JSON, in a connection of its own; takes little time off the server's cores."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body))
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


def streamed(url: str, body: dict) -> str:
    host, _, port = urlsplit(url).netloc.partition(":")
    settings = {name: value for name, value in body.items() if name not in ("model", "prompt")}
    with Person(Server(host, int(port), body["model"])) as asking:
        return asking.tell(body.get("prompt", ""), settings).text


def test_clients_that_leave_take_nothing_with_them(
    slow_server, connected, model: Path, count: Callable[[int, int], int]
):
    """While they wait, are read in, or are told; whole or streamed. Nobody else's story changes."""
    url, body = slow_server.url, {"model": str(model), "max_tokens": 60, "seed": 5}
    alone, before, leavers = streamed(url, body), counters(url), count(16, 200)
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(lambda: [streamed(url, body) for _ in range(3)])
        for number in range(leavers):
            rude = connected(url)
            rude.sendall(request({**body, "seed": number, "stream": number % 2 == 0, "max_tokens": 120}))
            time.sleep((0.0, 0.004, 0.02, 0.05)[number % 4])
            rude.close()
        gone = time.monotonic()
        assert others.result(60) == [alone] * 3
    while (after := counters(url))["tinytale_telling"] + after["tinytale_waiting"] and time.monotonic() < gone + 20:
        time.sleep(0.02)
    assert after["tinytale_telling"] == after["tinytale_waiting"] == after["tinytale_failed_total"] == 0
    finished = after["tinytale_stories_total"] - before["tinytale_stories_total"] - 3
    assert after["tinytale_cancelled_total"] - before["tinytale_cancelled_total"] >= 0.5 * leavers
    assert finished <= 0.1 * leavers
    assert streamed(url, body) == alone


@pytest.mark.timed
def test_a_crowd_beyond_the_queue_is_told_to_come_again(start_server, model: Path, count: Callable[[int, int], int]):
    """Ten times what fits, for some time: refusals are quick, what is taken is told, and health is never late."""
    running = start_server(model, "--slots", "2", "--waiting", "2", before=SLOW)
    seconds, body = count(2, 60), {"model": str(model), "max_tokens": 20, "seed": 1}
    alone, told, refusals, health = streamed(running.url, body), [], [], []
    end = time.monotonic() + seconds

    def ask() -> None:
        while (begun := time.monotonic()) < end:
            status, headers, content = post(running.url, body)
            if status == 429:
                refusals.append(time.monotonic() - begun)
                assert headers["retry-after"] == "1" and content["error"]
                time.sleep(0.2)
            else:
                assert status == 200
                told.append(content["choices"][0]["text"])

    def look_after() -> None:
        with httpx2.Client(base_url=running.url, timeout=30) as client:
            while (begun := time.monotonic()) < end:
                assert client.get("/health").status_code == 200
                health.append(time.monotonic() - begun)
                time.sleep(0.05)

    with ThreadPoolExecutor(41) as pool:
        for done in [pool.submit(look_after), *[pool.submit(ask) for _ in range(40)]]:
            done.result()
    for name, times in (("429", refusals), ("health", health)):
        middle, late = statistics.median(times), sorted(times)[int(0.95 * len(times))]
        print(f"\n{name}: {len(times)}, median {1e3 * middle:.0f} ms, 95% {1e3 * late:.0f} ms", end="")
    print(f"; {len(told)} stories told")
    assert set(told) == {alone} and len(refusals) > 10
    assert statistics.median(refusals) < 0.1 and statistics.median(health) < 0.2  # of the rest a busy machine decides


def test_slow_and_deaf_clients_are_closed_and_hold_up_nobody(
    start_server, connected, model: Path, count: Callable[[int, int], int]
):
    """Clients that never end their headers, or their body, or say nothing, or never read."""
    running = start_server(model, "--slots", "4", "--waiting", "2000", before=IMPATIENT)
    process, each = psutil.Process(running.process.pid), count(3, 50)
    talkative = {"model": str(model), "max_tokens": 120, "n": 8, "logprobs": 5}
    files, clients = process.num_fds(), []
    beginnings = {
        "silent": b"",
        "headers": b"GET / HTTP/1.1\r\nHost: local",
        "body": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        "deaf to a stream": request({**talkative, "stream": True}),
        "deaf to an answer": request(talkative),
    }
    for beginning in beginnings.values():
        for _ in range(each):
            clients.append(connected(running.url, window=2048))
            clients[-1].sendall(beginning)
    body, begun = {"model": str(model), "max_tokens": 3}, time.monotonic()

    def held() -> int:
        """Connections whose client has not taken all that it was sent."""
        own = [one for one in psutil.net_connections("tcp") if one.laddr and one.laddr[1] == urlsplit(running.url).port]
        return len([one for one in own if one.status == psutil.CONN_FIN_WAIT1])

    while (passed := time.monotonic() - begun) < 2 or (
        (process.num_fds() > files or held()) and passed < 20 + 4 * each
    ):
        assert post(running.url, body)[0] == 200
        time.sleep(0.1)
    assert process.num_fds() <= files and held() == 0


def test_streamed_is_whole_and_together_is_alone(server, model: Path, count: Callable[[int, int], int]):
    """Seed for seed and byte for byte; a character is never cut in pieces."""
    from tinytale.data.tokenizer import load_tokenizer

    url, number = server.url, count(12, 100)
    heads = ["The cat", "", "Żółć é 日本", "\U0001f600\U0001f469‍\U0001f469", "<|endoftext|>", "\n\n a", "x" * 50]
    bodies = [
        {"model": str(model), "prompt": heads[n % len(heads)], "seed": n, "max_tokens": 30, "temperature": 1.5}
        for n in range(number)
    ]

    def whole(body: dict) -> str:
        return post(url, body)[2]["choices"][0]["text"]

    alone = [whole(body) for body in bodies]
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(lambda body: streamed(url, body), bodies)) == alone
    tokenizer = load_tokenizer(model)
    for body, text in zip(bodies, alone, strict=True):
        stop = text[3:6]
        expected = text[: text.index(stop)] if stop else text
        assert whole({**body, "stop": stop or None}) == expected == streamed(url, {**body, "stop": stop or None})
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_counts_so_far_come_with_each_piece_if_asked(slow_server, model: Path):
    asked = {"stream": True, "stream_options": {"continuous_usage_stats": True}}
    body = {"model": str(model), "max_tokens": 30, "seed": 5, **asked}
    with httpx2.stream("POST", f"{slow_server.url}/v1/completions", json=body) as answer:
        pieces = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]
    counts = [piece["usage"]["completion_tokens"] for piece in pieces]
    assert counts == sorted(counts) and counts[0] < 15 and counts[-1] == 30
    assert 3 <= len(pieces) <= 20  # several tokens in each


def test_asked_to_stop_under_load_it_is_gone_in_time(
    start_server, connected, model: Path, count: Callable[[int, int], int]
):
    """Streams go on or are told why not; newcomers are refused; clients that never read are no reason to stay."""
    grace = count(3, 10)
    before = f"{SLOW}import tinytale.addons.serve.server as server; server.GRACE_SECONDS = {grace}"
    running = start_server(model, "--slots", "4", "--waiting", "60", before=before)
    body = {"model": str(model), "max_tokens": min(120, 20 * grace), "stream": True}
    deaf = [connected(running.url, window=2048) for _ in range(4)]
    readers = [connected(running.url) for _ in range(24)]  # 56 stories in four slots: not all can be told
    for client in [*readers[:4], *deaf, *readers[4:]]:
        client.sendall(request({**body, "n": 2}))
    while counters(running.url)["tinytale_waiting"] < 48:
        time.sleep(0.02)
    assert running.process.pid
    begun = time.monotonic()
    os.kill(running.process.pid, signal.SIGTERM)
    time.sleep(0.5)
    late = httpx2.post(f"{running.url}/v1/completions", json={**body, "stream": False}, timeout=5)
    assert late.status_code == 503 and late.headers["retry-after"] == "5" and late.json()["error"]
    endings = []

    def read(client: socket.socket) -> None:
        said = b""
        while part := client.recv(65536):
            said += part
        endings.append((b"data: [DONE]" in said, b"the server is shutting down" in said))

    threads = [threading.Thread(target=read, args=(client,)) for client in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    running.process.join(15)
    assert running.process.exitcode == 0 and time.monotonic() - begun < grace + 5
    assert len(endings) == len(readers) and all(done for done, _ in endings)
    assert 0 < sum(told_why for _, told_why in endings) < len(readers)


def test_thousands_of_requests_leave_nothing_behind(start_server, model: Path, count: Callable[[int, int], int]):
    """Stories, streams, refusals, looks: memory and open files stay as they were after the first part."""
    running = start_server(model, "--slots", "4", "--waiting", "100")
    process, total = psutil.Process(running.process.pid), count(400, 10_000)

    def ask(number: int) -> None:
        body = {"model": str(model), "prompt": f"The {number}th cat", "max_tokens": 4, "seed": number}
        if number % 4 == 0:
            streamed(running.url, body)
        elif number % 4 == 1:
            assert post(running.url, b"{")[0] == 400
        elif number % 40 == 2:
            assert post(running.url, {"model": str(model), "text": "The cat."}, "/api/look")[0] == 200
        else:
            assert post(running.url, body)[0] == 200

    def after(numbers: range) -> tuple[int, int]:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, numbers))
        deadline = time.monotonic() + 12
        while process.num_fds() > files and time.monotonic() < deadline:
            time.sleep(0.05)
        return process.memory_info().rss, process.num_fds()

    files = process.num_fds()
    memory, files = after(range(total // 4))
    memory_at_end, files_at_end = after(range(total // 4, total))
    print(f"\nafter {total // 4} requests {memory / 1e6:.1f} MB, after {total} {memory_at_end / 1e6:.1f} MB")
    assert memory_at_end < 1.02 * memory and files_at_end <= files
