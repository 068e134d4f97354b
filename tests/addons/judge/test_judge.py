"""A judge is asked through real sockets by the real client: what it cannot answer is repeated, then left ungraded."""

import json
from typing import Any

import pytest

from tinytale.addons.judge.judge import JudgeSettings, ask_all, find_model
from tinytale.addons.judge.rubric import CRITERIA, Grades
from tinytale.errors import TaleError, UsageError

JSON = {"Content-Type": "application/json"}
SOON = {"retry-after-ms": "1"}
NONSENSE = {"choices": [{"message": {"content": "Lovely!"}}]}


def settings(server: Any, **changes: Any) -> JudgeSettings:
    return JudgeSettings(**({"url": server.url, "retries": 1, "timeout": 5.0} | changes))


def ask(server: Any, texts: list[str], **changes: Any) -> dict[str, Grades | str]:
    heard: dict[str, Grades | str] = {}
    ask_all(settings(server, **changes), "stand-in", texts, lambda text, answer, _: heard.update({text: answer}))
    return heard


def fault(status: int, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, SOON | headers, body


def same(grade: float) -> Grades:
    return dict.fromkeys(CRITERIA, grade)


@pytest.fixture(autouse=True)
def no_proxy_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_every_text_gets_the_grades_that_the_judge_gave_it(judge_server):
    texts = ["one", "one two", "one two three", "", "{} </story> 日本"]
    heard = ask(judge_server, texts)
    for text in texts:
        words = len(text.split())
        assert heard[text] == same(words) | {"plot": max(0, words - 1)}
    assert sorted(judge_server.stories()) == sorted(texts)
    assert judge_server.questions[0]["temperature"] == 0


TEMPORARY = {
    "too many requests": fault(429),
    "a failing server": fault(500, b"<html>"),
    "an overloaded server": fault(503),
    "no JSON": fault(200, b"<html>hello</html>"),
    "broken JSON": fault(200, b'{"choices":', **JSON),
    "JSON of another kind": fault(200, b"[1]", **JSON),
    "no choices": fault(200, b'{"choices": []}', **JSON),
    "no content": fault(200, b'{"choices": [{"message": {"content": null, "refusal": "No."}}]}', **JSON),
    "a model that babbles": fault(200, json.dumps(NONSENSE).encode(), **JSON),
}


@pytest.mark.parametrize("kind", TEMPORARY)
def test_what_fails_once_is_asked_again(judge_server, kind: str):
    judge_server.faults = [TEMPORARY[kind]]
    assert ask(judge_server, ["a b c"]) == {"a b c": same(3) | {"plot": 2}}
    assert len(judge_server.questions) == 2


@pytest.mark.parametrize("kind", TEMPORARY)
def test_what_keeps_failing_is_ungraded_and_the_next_text_is_asked(judge_server, kind: str):
    judge_server.faults = [TEMPORARY[kind]] * 2
    heard = ask(judge_server, ["a b c", "d"], at_once=1)
    assert isinstance(heard["a b c"], str) and heard["d"] == same(1) | {"plot": 0}
    assert len(judge_server.questions) == 3


def test_the_reason_is_said(judge_server):
    judge_server.faults = [fault(429)] * 2 + [fault(500)] * 2 + [TEMPORARY["a model that babbles"]] * 2
    heard = ask(judge_server, ["a", "b", "c"], at_once=1)
    assert heard == {"a": "status 429", "b": "status 500", "c": "no grades in the reply"}


def test_the_wait_that_the_server_asks_for_is_kept(judge_server):
    import time

    judge_server.faults = [(429, {"Retry-After": "1"}, b"")]
    begun = time.monotonic()
    assert isinstance(ask(judge_server, ["a"])["a"], dict)
    assert time.monotonic() - begun >= 1


def test_a_silent_server_is_not_waited_for_for_ever(judge_server):
    judge_server.stalls = 1
    heard = ask(judge_server, ["a", "b"], timeout=0.3, retries=0, at_once=1)
    assert heard == {"a": "timed out", "b": same(1) | {"plot": 0}}


def test_a_silence_is_ended_and_the_text_asked_again(judge_server):
    judge_server.stalls = 1
    assert ask(judge_server, ["a"], timeout=0.5) == {"a": same(1) | {"plot": 0}}


def test_a_reply_that_drips_is_not_waited_for_for_ever(judge_server):
    judge_server.drips = 1
    heard = ask(judge_server, ["a", "b"], timeout=0.3, retries=0, at_once=1)
    assert heard == {"a": "timed out", "b": same(1) | {"plot": 0}}


@pytest.mark.parametrize("takes", [{"temperature"}, {"response_format"}, set()], ids=str)
def test_a_model_that_refuses_an_option_is_asked_without_that_one(judge_server, takes: set[str]):
    judge_server.takes, told = takes, []
    ask_all(settings(judge_server, at_once=1), "stand-in", "abc", lambda *heard: told.append(heard))
    assert all(isinstance(answer, dict) and options == sorted(takes) for _, answer, options in told)
    asked = [set(question) - {"model", "messages"} for question in judge_server.questions]
    assert len(told) == 3 and asked[-3:] == [takes] * 3 and takes not in asked[:-3]


def test_no_more_questions_are_under_way_than_allowed(judge_server):
    import time

    def slowly(story: str) -> str:
        time.sleep(0.02)
        return json.dumps(same(5))

    judge_server.say = slowly
    ask(judge_server, [f"story {n}" for n in range(20)], at_once=3)
    assert judge_server.most_at_once == 3


def test_a_judge_that_never_grades_is_left_alone_soon(judge_server):
    judge_server.say = lambda story: "Lovely!"
    with pytest.raises(TaleError, match=r"no grades for 20 texts in a row \(the last: no grades in the reply\)"):
        ask(judge_server, [f"story {n}" for n in range(100)])
    assert len({*judge_server.stories()}) < 25


def test_a_wrong_key_ends_the_asking_and_is_never_repeated(
    judge_server, monkeypatch: pytest.MonkeyPatch, capsys, caplog
):
    judge_server.token = "right"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-key")
    for attempt in (lambda: ask(judge_server, ["a", "b"]), lambda: find_model(settings(judge_server))):
        with pytest.raises(TaleError, match=r"refuses access \(401\); set OPENAI_API_KEY") as refused:
            attempt()
        assert "sk-wrong" not in str(refused.value)
    assert "sk-wrong" not in caplog.text + "".join(capsys.readouterr())


def test_the_key_comes_from_the_environment(judge_server, monkeypatch: pytest.MonkeyPatch):
    judge_server.token = "right"
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    assert isinstance(ask(judge_server, ["a"])["a"], dict)


def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(judge_server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-schlüssel")
    with pytest.raises(UsageError, match="OPENAI_API_KEY holds characters") as refused:
        ask(judge_server, ["a"])
    assert "schl" not in str(refused.value)


def test_the_only_model_is_found_and_of_several_one_must_be_named(judge_server):
    assert find_model(settings(judge_server)) == "stand-in"
    judge_server.models = ["one", "two"]
    with pytest.raises(UsageError, match="these models: one, two; name one with --judge-model"):
        find_model(settings(judge_server))
    assert find_model(settings(judge_server, model="two")) == "two"
    judge_server.models = None
    assert find_model(settings(judge_server, model="unlisted")) == "unlisted"
    with pytest.raises(UsageError, match="none that it lists"):
        find_model(settings(judge_server))


def test_an_address_without_a_judge_is_said_at_once(judge_server):
    with pytest.raises(TaleError, match=r"does not answer \(no connection\)"):
        find_model(JudgeSettings(url="http://127.0.0.1:1/v1", retries=0))
    with pytest.raises(TaleError, match="ends in /v1"):
        ask(judge_server, ["a"], url=judge_server.url + "/v2")


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host/v1", "https://", "http://me:secret@host/v1", "http://h/?key=s"]
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_without_showing_it(url: str):
    with pytest.raises(UsageError, match="not the address of a server") as refused:
        JudgeSettings(url=url)
    assert "secret" not in str(refused.value)
