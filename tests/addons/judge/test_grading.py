"""Samples and real stories are graded blind, in an order of chance, once; what comes out is means and their error."""

import json
import math
import signal
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytale.addons.judge.gradebook import GradeBook
from tinytale.addons.judge.grading import graded, judge_table, real_stories
from tinytale.addons.judge.judge import JudgeSettings
from tinytale.addons.judge.rubric import CRITERIA
from tinytale.addons.quality.samples import SampleSettings
from tinytale.data.shards import Manifest
from tinytale.data.stored import open_splits
from tinytale.data.tokenizer import load_tokenizer
from tinytale.errors import TaleError
from tinytale.evaluation.stream import Stream

TOLD = [f"Tom sees {'a cat and ' * n}a dog." for n in range(6)]
REAL = [f"Once, Mia had {'a red ball and ' * n}a hat." for n in range(6)]
SETTINGS = SampleSettings(stories=6, seed=3)


@pytest.fixture(autouse=True)
def no_proxy_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def grade(server: Any, folder: Path, told: list[str] = TOLD, real: list[str] = REAL, **changes: Any) -> dict[str, Any]:
    judge = JudgeSettings(**({"url": server.url, "retries": 0, "timeout": 5.0} | changes))
    return graded(judge, "stand-in", (SETTINGS, told), real, folder / "judged.jsonl")


def test_the_means_and_intervals_are_those_of_the_rule(judge_server, tmp_path: Path):
    result = grade(judge_server, tmp_path)
    words = {
        kind: np.minimum(10, [len(text.split()) for text in texts])
        for kind, texts in (("samples", TOLD), ("control", REAL))
    }
    error = {}
    for kind, grades in words.items():
        assert result[kind]["graded"] == 6 and result[kind]["ungraded"] == {}
        error[kind] = grades.std(ddof=1) / math.sqrt(6)
        for criterion in CRITERIA:
            mean = grades.mean() - (criterion == "plot")
            found = result[kind]["grades"][criterion]
            assert found["mean"] == pytest.approx(mean)
            expected = (max(0, mean - 1.96 * error[kind]), min(10, mean + 1.96 * error[kind]))
            assert found["interval_95"] == pytest.approx(expected)
    difference = result["difference"]["grammar"]
    assert difference["mean"] == pytest.approx(words["samples"].mean() - words["control"].mean())
    low, high = difference["interval_95"]
    assert high - low == pytest.approx(2 * 1.96 * math.hypot(*error.values()))
    assert (result["model"], result["rubric"], result["settings"]["seed"]) == ("stand-in", 1, 3)


def test_a_request_does_not_say_which_kind_its_text_is(judge_server, tmp_path: Path):
    grade(judge_server, tmp_path, ["SAME"], ["OTHER"])
    bodies = {json.dumps(question).replace("SAME", "").replace("OTHER", "") for question in judge_server.questions}
    heads = [{name: value for name, value in head.items() if name != "Content-Length"} for head in judge_server.headers]
    assert len(judge_server.questions) == 2 and len(bodies) == 1 and heads[0] == heads[1]


def test_the_kinds_are_mixed_and_the_order_comes_from_the_seed_alone(judge_server, tmp_path: Path):
    orders = []
    for attempt in ("a", "b"):
        judge_server.questions.clear()
        grade(judge_server, tmp_path / attempt, at_once=1)
        orders.append(judge_server.stories())
    assert orders[0] == orders[1] and sorted(orders[0]) == sorted(TOLD + REAL)
    kinds = [story in TOLD for story in orders[0]]
    assert sum(one != other for one, other in pairwise(kinds)) > 2


def test_the_order_in_which_grades_come_changes_nothing(judge_server, tmp_path: Path):
    first = grade(judge_server, tmp_path / "a", at_once=1)
    assert grade(judge_server, tmp_path / "b", at_once=5) == first


def test_a_judge_that_always_says_ten_is_found_out(judge_server, tmp_path: Path):
    judge_server.say = lambda story: json.dumps(dict.fromkeys(CRITERIA, 10))
    result = grade(judge_server, tmp_path)
    assert result["undiscerning"] == list(CRITERIA)
    assert result["samples"]["grades"]["plot"] == {"mean": 10, "interval_95": (10, 10)}
    assert result["difference"]["plot"] == {"mean": 0, "interval_95": (0, 0)}
    assert "tells nothing about grammar, creativity" in str(judge_table(result).caption)


def test_a_judge_that_discerns_is_not_accused(judge_server, tmp_path: Path):
    result = grade(judge_server, tmp_path)
    assert result["undiscerning"] == [] and "tells nothing" not in str(judge_table(result).caption)


def test_the_ungraded_are_counted_by_kind_and_never_made_up(judge_server, tmp_path: Path):
    fours = json.dumps(dict.fromkeys(CRITERIA, 4))
    judge_server.say = lambda story: "No." if "dog" in story and "cat" in story else fours
    result = grade(judge_server, tmp_path)
    assert (result["samples"]["graded"], result["samples"]["ungraded"]) == (1, {"no grades in the reply": 5})
    assert (result["control"]["graded"], result["control"]["ungraded"]) == (6, {})
    assert result["samples"]["grades"]["plot"] == {"mean": 4, "interval_95": None}
    judge_server.say = lambda story: "No."
    nothing = grade(judge_server, tmp_path / "other")
    assert nothing["samples"]["grades"]["plot"] == nothing["difference"]["plot"] == {"mean": None, "interval_95": None}
    assert json.dumps(nothing, allow_nan=False) and judge_table(nothing).row_count == 6


def test_what_is_graded_is_not_asked_again(judge_server, tmp_path: Path):
    first = grade(judge_server, tmp_path)
    judge_server.questions.clear()
    assert grade(judge_server, tmp_path) == first and judge_server.questions == []
    grade(judge_server, tmp_path, told=[*TOLD[:5], "A new one."])
    assert judge_server.stories() == ["A new one."]


def test_ctrl_c_keeps_the_grades_so_far(judge_server, tmp_path: Path, capsys):
    import _thread

    rule, lock, asked = judge_server.say, threading.Lock(), []

    def interrupt(story: str) -> str:
        with lock:
            asked.append(story)
            if len(asked) == 5:
                _thread.interrupt_main()
                judge_server.ended.wait(5)
        return rule(story)

    judge_server.say = interrupt
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores Ctrl-C
    try:
        with pytest.raises(KeyboardInterrupt):
            grade(judge_server, tmp_path, at_once=1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "the same command goes on from there" in " ".join(capsys.readouterr().err.split())
    assert len((tmp_path / "judged.jsonl").read_text().splitlines()) == 4
    judge_server.say = rule
    judge_server.questions.clear()
    assert grade(judge_server, tmp_path)["samples"]["graded"] == 6
    assert len(judge_server.questions) == len(TOLD + REAL) - 4


def test_grades_are_kept_by_text_server_and_model_without_the_text(tmp_path: Path):
    path = tmp_path / "new" / "judged.jsonl"
    book, grades = GradeBook(path, "http://a/v1", "m"), dict.fromkeys(CRITERIA, 5.0)
    assert book["Once."] is None
    book.write("Once.", grades, ["temperature"])
    assert "Once" not in path.read_text() and "http" not in path.read_text()
    assert GradeBook(path, "http://a/v1", "m")["Once."] == grades
    assert GradeBook(path, "http://b/v1", "m")["Once."] is None
    assert GradeBook(path, "http://a/v1", "n")["Once."] is None
    assert GradeBook(path, "http://a/v1", "m")["Twice."] is None


DAMAGED = ['{"text": "ab', '{"text": 1}', "[]", '{"text": "ab", "grades": {"plot": 99}}', "\0" * 50]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_line_that_was_cut_short_costs_nothing_but_itself(tmp_path: Path, damage: str):
    path, grades = tmp_path / "judged.jsonl", dict.fromkeys(CRITERIA, 5.0)
    GradeBook(path, "u", "m").write("one", grades, [])
    path.write_text(path.read_text() + damage)
    GradeBook(path, "u", "m").write("two", grades, [])
    book = GradeBook(path, "u", "m")
    assert (book["one"], book["two"]) == (grades, grades)


def test_a_disk_that_refuses_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TaleError, match=r"judged\.jsonl"):
        GradeBook(tmp_path / "file" / "judged.jsonl", "u", "m").write("one", dict.fromkeys(CRITERIA, 5.0), [])


def test_real_stories_are_of_the_split_and_cut_alike(dataset: Path):
    manifest, tokenizer = Manifest.load(dataset), load_tokenizer(dataset)
    tokens = manifest.tokens(dataset, "test")
    stream = Stream(tokens[: len(tokens)], "test", manifest.digest, "")
    stories = list(open_splits(dataset, manifest)["test"])
    settings = SampleSettings(stories=3, max_new_tokens=40)
    chosen = real_stories(stream, tokenizer, settings)
    assert len(chosen) == 3 and chosen == real_stories(stream, tokenizer, settings)
    assert all(any(tokenizer.decode(tokenizer.encode(story)[:40]) == text for story in stories) for text in chosen)
    assert chosen != real_stories(stream, tokenizer, SampleSettings(stories=3, max_new_tokens=40, seed=1))
    everything = real_stories(stream, tokenizer, SampleSettings(stories=10_000, max_new_tokens=10_000))
    assert sorted(everything) == sorted(stories)


def test_where_it_is_not_known_what_was_asked_nothing_is_said_of_it(judge_server, tmp_path: Path):
    grade(judge_server, tmp_path)
    book = tmp_path / "judged.jsonl"
    lines = [json.loads(line) for line in book.read_text().splitlines()]
    book.write_text("".join(json.dumps({key: line[key] for key in ("text", "grades")}) + "\n" for line in lines))
    old = grade(judge_server, tmp_path)
    judge_server.say = lambda story: "No."
    nothing = grade(judge_server, tmp_path / "other")
    for result in (old, nothing):
        assert result["asked_with"] is None and "took no" not in str(judge_table(result).caption)
    assert old["samples"]["graded"] == 6 and nothing["samples"]["graded"] == 0


def test_the_result_says_what_the_judge_was_asked_with_also_when_it_goes_on(judge_server, tmp_path: Path):
    judge_server.takes = {"response_format"}
    result = grade(judge_server, tmp_path)
    assert result["asked_with"] == ["response_format"]
    assert "took no temperature of 0" in str(judge_table(result).caption)
    judge_server.questions.clear()
    assert grade(judge_server, tmp_path) == result and not judge_server.questions
    judge_server.takes.add("temperature")
    exact = grade(judge_server, tmp_path / "other")
    assert exact["asked_with"] == ["response_format", "temperature"] and "took no" not in str(
        judge_table(exact).caption
    )
