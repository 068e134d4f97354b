"""Requests that schemathesis makes from a description of the interface, right and wrong ones.

Nothing is answered by a 5xx, every error has OpenAI's form, and the next request works.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from tinytale.addons.serve.schema import ChatRequest, CompletionRequest, LookRequest


def described(model: str) -> dict:
    """The interface as OpenAPI; `model` is the only one that a right request can name."""
    paths = {}
    for path, kind in (
        ("/v1/completions", CompletionRequest),
        ("/v1/chat/completions", ChatRequest),
        ("/api/look", LookRequest),
    ):
        body = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        body.pop("$defs", None)
        body["properties"]["model"] = {"enum": [model]}
        paths[path] = {"post": {"requestBody": {"content": {"application/json": {"schema": body}}, "required": True}}}
    queries = [
        {"name": "model", "in": "query", "required": True, "schema": {"enum": [model]}},
        {"name": "start", "in": "query", "schema": {"type": "integer"}},
    ]
    paths["/api/metrics"] = {"get": {"parameters": queries}}
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    paths["/v1/models/{name}"] = {"get": {"parameters": [name]}}
    for methods in paths.values():
        for operation in methods.values():
            operation["responses"] = {"200": {"description": "an answer"}}
    components = {"schemas": ChatRequest.model_json_schema()["$defs"]}
    head = {"openapi": "3.1.0", "info": {"title": "tinytale", "version": "1"}}
    return {**head, "paths": paths, "components": components}


@pytest.fixture
def client(server):
    with httpx2.Client(base_url=server.url, timeout=60) as one:
        yield one


def test_whatever_schemathesis_makes_is_answered_well(server, client, model: Path, count: Callable[[int, int], int]):
    schema = schemathesis.openapi.from_dict(described(str(model)))
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 5
    statuses: dict[int, int] = {}

    def check(case) -> None:
        sent = case.as_transport_kwargs(base_url=server.url)
        kept = {name: sent[name] for name in ("method", "url", "params", "headers", "cookies") if sent.get(name)}
        content = json.dumps(sent["json"]).encode() if sent.get("json") is not None else sent.get("data")
        try:
            request = client.build_request(**kept, content=content)
        except (TypeError, ValueError, httpx2.InvalidURL):
            return  # no client could send it
        answer = client.send(request)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"} and len(answer.content) < 1000

    each = count(12, 760)
    for operation in operations:
        for mode in GenerationMode.NEGATIVE, GenerationMode.POSITIVE:
            run = given(case=operation.as_strategy(generation_mode=mode))(check)
            run = settings(
                max_examples=each,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            )(run)
            with suppress(Unsatisfiable):  # a name in a path cannot be wrong
                seed(0)(run)()
    print(f"\n{sum(statuses.values())} requests, by status: {statuses}")
    assert sum(statuses.values()) > 5 * each and {200, 400} <= set(statuses)
    assert httpx2.post(f"{server.url}/v1/completions", json={"model": str(model), "max_tokens": 1}).status_code == 200


def test_bytes_that_are_no_request_are_refused(client, model: Path, count: Callable[[int, int], int]):
    """A right body with bytes changed, taken out or put in: it is still right, or refused."""
    right = json.dumps({"model": str(model), "prompt": "The cat", "max_tokens": 2, "stop": ["x"], "seed": 3}).encode()

    @seed(0)
    @settings(max_examples=count(60, 2000), deadline=None, database=None, phases=[Phase.generate])
    @given(st.lists(st.tuples(st.integers(0, len(right) - 1), st.binary(max_size=4), st.integers(0, 9)), max_size=4))
    def changed(edits: list[tuple[int, bytes, int]]) -> None:
        body = right
        for place, new, length in edits:
            body = body[:place] + new + body[place + length :]
        answer = client.post("/v1/completions", content=body)
        assert answer.status_code in (200, 400, 404) and (answer.status_code == 200 or answer.json()["error"])

    changed()
