import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import openai
import pytest

import tinytale
from tinytale.addons.serve.commands import address_of
from tinytale.addons.serve.guard import CONTENT_SECURITY_POLICY


@pytest.fixture
def client(server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="session")
def name(model: Path) -> str:
    return str(model)


def test_the_official_client_gets_the_stories_that_python_tells(client, name: str, model: Path):
    settings = {"temperature": 0.9, "top_p": 0.95, "seed": 7}
    told = client.completions.create(model=name, prompt="The cat", max_tokens=12, n=3, logprobs=2, **settings)
    stories = tinytale.load(model).generate("The cat", samples=3, max_new_tokens=12, alternatives=2, **settings)
    assert [choice.text for choice in told.choices] == [story.text for story in stories]
    assert [choice.index for choice in told.choices] == [0, 1, 2]
    scores = told.choices[1].logprobs
    assert scores.token_logprobs == pytest.approx([token.log_probability for token in stories[1].tokens], abs=1e-5)
    assert all(len(best) == 2 and max(best.values()) <= 0 for best in scores.top_logprobs)
    assert told.usage.completion_tokens == sum(len(story.tokens) for story in stories)
    assert told.usage.total_tokens == told.usage.prompt_tokens + told.usage.completion_tokens
    assert {choice.finish_reason for choice in told.choices} <= {"length", "stop"}


def test_a_repetition_penalty_is_heeded(client, name: str, model: Path):
    settings = {"model": name, "prompt": "The cat", "max_tokens": 40, "seed": 7, "temperature": 0.9}
    told = client.completions.create(**settings, extra_body={"repetition_penalty": 5.0}).choices[0].text
    settings = {"seed": 7, "temperature": 0.9, "max_new_tokens": 40}
    (with_it,) = tinytale.load(model).generate("The cat", repetition_penalty=5.0, **settings)
    (without,) = tinytale.load(model).generate("The cat", **settings)
    assert told == with_it.text != without.text


def test_what_clients_of_other_servers_send_for_off_is_off(client, name: str):
    settings = {"model": name, "prompt": "The cat", "seed": 7, "temperature": 0.9}
    usual = client.completions.create(**settings).choices[0]
    for off in ({"top_k": 0}, {"top_k": -1}, {"min_p": 0}, {"max_tokens": -1}, {"logprobs": False}):
        assert client.completions.create(**settings, extra_body=off).choices[0] == usual
    chat = {"model": name, "messages": [{"role": "user", "content": "The cat"}], "seed": 7, "temperature": 0.9}
    said = client.chat.completions.create(
        **chat, extra_body={"max_completion_tokens": -1, "top_k": -1, "logprobs": False}
    )
    assert said.choices[0].message.content == usual.text


def test_a_stream_is_the_whole_in_pieces(client, name: str):
    settings = {"model": name, "prompt": "The dog", "max_tokens": 40, "seed": 3, "n": 2, "logprobs": 0}
    whole = client.completions.create(**settings)
    pieces = list(client.completions.create(**settings, stream=True, stream_options={"include_usage": True}))
    for index, choice in enumerate(whole.choices):
        mine = [piece.choices[0] for piece in pieces if piece.choices and piece.choices[0].index == index]
        assert "".join(piece.text for piece in mine) == choice.text
        assert [token for piece in mine for token in piece.logprobs.tokens] == choice.logprobs.tokens
        assert [piece.finish_reason for piece in mine][-1] == choice.finish_reason
    assert pieces[-1].usage == whole.usage


def test_a_chat_goes_on_where_its_turns_end(client, name: str):
    turns = [{"role": "user", "content": "The cat"}, {"role": "assistant", "content": " sat"}]
    settings = {"model": name, "max_tokens": 9, "seed": 5, "temperature": 0}
    said = client.chat.completions.create(messages=turns, logprobs=True, top_logprobs=1, **settings)
    plain = client.completions.create(prompt="The cat sat", **settings)
    assert said.choices[0].message.content == plain.choices[0].text
    assert all(token.top_logprobs[0].logprob == token.logprob for token in said.choices[0].logprobs.content)  # greedy
    pieces = client.chat.completions.create(messages=turns, stream=True, **settings)
    assert "".join(piece.choices[0].delta.content for piece in pieces) == plain.choices[0].text


def test_a_stop_string_ends_a_story_and_is_not_in_it(client, name: str):
    settings = {"model": name, "prompt": "The cat", "max_tokens": 60, "seed": 1}
    text = client.completions.create(**settings).choices[0].text
    stop = text[10:13]
    stopped = client.completions.create(**settings, stop=[stop, "never to be found"]).choices[0]
    assert stopped.finish_reason == "stop" and stopped.text == text[: text.index(stop)]


def test_the_models_are_listed(client, name: str):
    assert [model.id for model in client.models.list()] == [name]
    assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError, match="there is no model of that name"):
        client.completions.create(model="gpt-5", prompt="")


REFUSED = {
    "no json": b"{",
    "nan": b'{"model": "x", "temperature": NaN}',
    "infinity": b'{"model": "x", "top_p": Infinity}',
    "lone surrogate": b'{"model": "x", "prompt": "\\ud800"}',
    "bad utf-8": b'{"model": "\xff"}',
    "deep": b'{"model": ' + b"[" * 30_000,
    "a number of 5,000 digits": b'{"model": "x", "seed": ' + b"9" * 5_000 + b"}",
    "a wrong type": b'{"model": 3}',
    "no model": b"{}",
    "an array": b"[]",
    "nothing": b"",
    "nul": b"\x00",
    "too many choices": b'{"model": "x", "n": 1000000}',
    "a hot temperature": b'{"model": "x", "temperature": 1e300}',
    "an empty stop": b'{"model": "x", "stop": ""}',
    "no tokens": b'{"model": "x", "max_tokens": 0}',
    "a long prompt": json.dumps({"model": "x", "prompt": "a" * 30_000}).encode(),
}


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_served_is_refused_in_openais_form(server, path: str, body: bytes):
    answer = httpx2.post(f"{server.url}/v1/{path}", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error" and len(answer.content) < 500


def test_bounds_of_body_and_context(server, name: str):
    url = f"{server.url}/v1/completions"
    assert httpx2.post(url, content=b"x" * 300_000).status_code == 413
    too_long = httpx2.post(url, json={"model": name, "prompt": "The cat", "max_tokens": 126})
    assert too_long.status_code == 400 and "together they may be 128" in too_long.json()["error"]["message"]
    crowded = httpx2.post(url, json={"model": name, "prompt": "cat " * 300})
    message = "the text has 602 tokens, and the model can look at 128: shorten it"
    assert crowded.status_code == 400 and crowded.json()["error"]["message"] == message


def test_what_is_wrong_is_said_in_a_plain_sentence(server, name: str):
    def message(**settings: object) -> str:
        answer = httpx2.post(f"{server.url}/v1/completions", json={"model": name, **settings})
        return answer.json()["error"]["message"]

    assert message(temperature=3) == "temperature should be less than or equal to 2"
    assert message(max_tokens="many") == "max_tokens should be a valid integer"
    assert message(prompt="a" * 30_000) == "prompt should have at most 20000 characters"
    assert message(suffix="x") == "suffix is not supported; leave it out"
    assert "--host 0.0.0.0" in httpx2.get(server.url, headers={"Host": "proxy.example"}).json()["error"]["message"]


def test_the_address_that_is_shown_can_be_opened_elsewhere():
    assert address_of("127.0.0.1") == "127.0.0.1" and address_of("::1") == "::1"
    for everywhere in ("0.0.0.0", "::"):
        assert address_of(everywhere) and address_of(everywhere) != everywhere


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/..%2fapp.py", "/%2e%2e/app.py", "//etc/passwd", "/C:/x", "/x%00"]
)
def test_no_file_but_the_pages_own_is_served(server, path: str):
    answer = httpx2.get(server.url + path)
    assert answer.status_code == 404 and answer.json()["error"]


def test_the_page_is_served_under_a_strict_policy(server):
    for file in (
        "/",
        "/app.js",
        "/look.js",
        "/write.js",
        "/inside.js",
        "/training.js",
        "/api.js",
        "/style.css",
        "/icon.svg",
    ):
        answer = httpx2.get(server.url + file)
        assert answer.status_code == 200 and answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unsafe-inline" not in CONTENT_SECURITY_POLICY


def test_strange_hosts_and_origins_are_refused(server):
    port = server.url.rpartition(":")[2]
    assert httpx2.get(server.url, headers={"Host": f"localhost:{port}"}).status_code == 200
    assert httpx2.get(server.url, headers={"Host": "evil.example"}).status_code == 403
    body = {"model": "x"}
    foreign = httpx2.post(f"{server.url}/v1/completions", json=body, headers={"Origin": "https://evil.example"})
    own = httpx2.post(f"{server.url}/v1/completions", json=body, headers={"Origin": server.url})
    assert (foreign.status_code, own.status_code) == (403, 404)
    assert "access-control-allow-origin" not in foreign.headers


def test_a_look_is_what_inspect_prints(server, name: str, tale):
    seen = httpx2.post(f"{server.url}/api/look", json={"model": name, "text": "The cat sat."}).json()
    assert seen == json.loads(tale("inspect", name, "The cat sat.", "--json").out)


def test_without_a_seed_each_request_has_its_own(client, name: str):
    told = [client.completions.create(model=name, prompt="The cat", max_tokens=30).choices[0].text for _ in range(2)]
    assert told[0] != told[1]


def test_many_at_once_get_what_each_would_get_alone(client, name: str):
    def told(seed: int) -> str:
        return (
            client.completions.create(model=name, prompt="The " * (seed % 5), seed=seed, max_tokens=30).choices[0].text
        )

    alone = [told(seed) for seed in range(10)]
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(told, range(10))) == alone


def test_when_the_waiting_room_is_full_the_next_is_asked_to_come_again(start_server, model: Path):
    running = start_server(model, "--slots", "1", "--waiting", "2")
    body = {"model": str(model), "max_tokens": 120, "n": 3}
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: httpx2.post(f"{running.url}/v1/completions", json=body, timeout=60), range(8))
        )
    codes = sorted({answer.status_code for answer in answers})
    assert codes == [200, 429]
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 429)
    assert httpx2.post(f"{running.url}/v1/completions", json={**body, "n": 1, "max_tokens": 1}).status_code == 200


def counters(url: str) -> dict[str, float]:
    lines = [line for line in httpx2.get(f"{url}/metrics").text.splitlines() if not line.startswith("#")]
    return {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_a_key_is_wanted_everywhere_but_for_health(start_server, model: Path):
    before = "import os; os.environ['TINYTALE_API_KEY'] = 's3cret'"
    running = start_server(model, "--host", "0.0.0.0", before=before)
    for path in ("/", "/v1/models", "/metrics", "/app.js"):
        assert httpx2.get(running.url + path).status_code == 401
        assert httpx2.get(running.url + path, headers={"Authorization": "Bearer s3cre"}).status_code == 401
        assert httpx2.get(running.url + path, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert httpx2.get(running.url + path, auth=("anyone", "s3cret")).status_code == 200
    assert httpx2.get(running.url + "/health").status_code == 200
    assert "s3cret" not in running.log.read_text()


def test_an_open_host_needs_a_key(tale, model: Path, monkeypatch):
    monkeypatch.delenv("TINYTALE_API_KEY", raising=False)
    said = tale("serve", model, "--host", "0.0.0.0")
    assert said.code == 2 and "put a key into TINYTALE_API_KEY" in said.err


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(tale, server, model: Path):
    said = tale("serve", model, "--port", server.url.rpartition(":")[2])
    assert said.code == 2 and "give another one with --port" in said.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_asked_to_stop_it_ends_the_stories_at_hand_and_leaves(start_server, model: Path, number):
    running = start_server(model, "--slots", "2")
    body = {"model": str(model), "max_tokens": 120, "stream": True, "seed": 1}
    with httpx2.stream("POST", f"{running.url}/v1/completions", json=body, timeout=30) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        assert running.process.pid
        os.kill(running.process.pid, number)
        *pieces, last = filter(None, [first, *lines])
        events = [json.loads(piece.removeprefix("data: ")) for piece in pieces]
        assert last == "data: [DONE]" and not any("error" in event for event in events)
        assert events[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    running.process.join(15)
    assert running.process.exitcode == 0


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_chat_is_as_long_as_asked_by_either_name(server, model: Path, name: str):
    body = {"model": str(model), "messages": [{"role": "user", "content": "One day"}], name: 3}
    answer = httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] <= 3


def test_what_the_official_client_sends_for_nothing_asks_for_nothing(client, name: str):
    """It writes null for None, and a text may come in parts."""
    settings = {"model": name, "max_tokens": 6, "seed": 5}
    plain = client.completions.create(prompt="The cat sat", **settings)
    nothing = dict.fromkeys(("temperature", "top_p", "n", "stop", "stream", "logprobs", "echo", "logit_bias", "suffix"))
    assert (
        client.completions.create(prompt="The cat sat", **settings, **nothing).choices[0].text == plain.choices[0].text
    )
    best = client.completions.create(prompt="The cat sat", **settings, n=2, best_of=2)
    assert [choice.index for choice in best.choices] == [0, 1] and best.choices[0].text == plain.choices[0].text
    parts = [{"type": "text", "text": "The cat"}, {"type": "text", "text": " sat"}]
    chat = {"model": name, "messages": [{"role": "user", "content": parts}], "seed": 5}
    neutral = {"frequency_penalty": 0.0, "logit_bias": {}, "tools": [], "response_format": {"type": "text"}}
    bounds = {"max_completion_tokens": None, "max_tokens": 6, "temperature": None}
    assert (
        client.chat.completions.create(**chat, **neutral, **bounds).choices[0].message.content == plain.choices[0].text
    )


@pytest.mark.parametrize(
    "asked",
    [{"echo": True}, {"logit_bias": {"5": 1}}, {"presence_penalty": 0.5}, {"best_of": 2}, {"suffix": "!"}],
    ids=str,
)
def test_what_would_change_the_answer_is_refused_not_ignored(client, name: str, asked: dict):
    with pytest.raises(openai.BadRequestError, match=f"{next(iter(asked))} is not supported; leave it out"):
        client.completions.create(model=name, prompt="The cat", **asked)
