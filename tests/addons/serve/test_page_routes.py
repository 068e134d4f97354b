import re
from pathlib import Path

import httpx2
import pytest

from tinytale.addons.inspection.split import split_data
from tinytale.addons.serve.app import PAGE
from tinytale.addons.serve.page_routes import LONGEST_TEXT
from tinytale.addons.serve.schema import Settings
from tinytale.config import TEMPERATURE
from tinytale.data.tokenizer import load_tokenizer


def test_any_text_is_split_into_tokens(server, model: Path):
    for text in ("Tom’s “🦊”\n\t<|endoftext|>", "", "a" * LONGEST_TEXT):
        answer = httpx2.post(f"{server.url}/api/tokens", json={"model": str(model), "text": text})
        assert answer.json() == split_data(load_tokenizer(model), text)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"model": "MODEL", "text": "a" * (LONGEST_TEXT + 1)}, 400, "at most 4000 characters"),
        ({"model": "MODEL", "text": 3}, 400, "text should be a valid string"),
        ({"text": "a"}, 400, "model: "),
        ({"model": "other", "text": "a"}, 404, "no model of that name"),
        ({"model": "MODEL", "text": "a" * 300_000}, 413, "larger than"),
    ],
)
def test_what_cannot_be_split_is_refused(server, model: Path, body: dict, status: int, said: str):
    body = {key: str(model) if value == "MODEL" else value for key, value in body.items()}
    answer = httpx2.post(f"{server.url}/api/tokens", json=body)
    assert answer.status_code == status and said in answer.json()["error"]["message"]
    half = httpx2.post(f"{server.url}/api/tokens", content=b'{"model": "x", "text": "\\ud800"}')
    assert half.status_code == 400


def test_a_model_without_a_run_has_told_nothing(server, model: Path):
    answer = httpx2.get(f"{server.url}/api/samples", params={"model": str(model)})
    assert answer.json() == {"samples": [], "next": 0}
    assert httpx2.get(f"{server.url}/api/samples", params={"model": "other"}).status_code == 404


@pytest.mark.parametrize("start", [-1, 2**62, "1e9"])
def test_a_place_that_no_file_has_is_refused(server, model: Path, start: object):
    answer = httpx2.get(f"{server.url}/api/samples", params={"model": str(model), "start": start})
    assert answer.status_code == 400 and "start" in answer.json()["error"]["message"]


def test_the_whole_page_is_small():
    assert sum(path.stat().st_size for path in PAGE.values()) < 100_000


def test_the_page_draws_as_everything_else_does_when_nobody_says_how():
    field = re.search(r'temperature: \{.*value: "([^"]+)" \}', PAGE["write.js"].read_text(encoding="utf-8"))
    assert field and float(field[1]) == TEMPERATURE == Settings(model="any").temperature
