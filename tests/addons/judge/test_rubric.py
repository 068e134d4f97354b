"""How a judge's reply is read, and that the question is the same for every text."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytale.addons.judge.rubric import CRITERIA, RUBRIC, RUBRIC_VERSION, UngradedError, question, read_grades

GRADES = {"grammar": 7, "creativity": 0, "consistency": 10, "plot": 4.5}
REPLY = json.dumps(GRADES)


@pytest.mark.parametrize(
    "reply",
    [
        REPLY,
        f"```json\n{REPLY}\n```",
        f"Gladly! Here they are: {REPLY} I hope that {{this}} helps.",
        f'<think>Perhaps {json.dumps(GRADES | {"plot": 1})}? {{"grammar": 3}} No.</think>\n{REPLY}',
        json.dumps(GRADES | {"age": "A"}),
        f'{REPLY} {{"remark": "lovely"}}',
        "x" * 30_000 + REPLY,
        "{" * 5_000 + REPLY,
    ],
    ids=[
        "bare",
        "fenced",
        "in prose",
        "thought aloud",
        "with more",
        "before another object",
        "after much",
        "after braces",
    ],
)
def test_grades_are_found_whatever_stands_around_them(reply: str):
    assert read_grades(reply) == GRADES


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "no grades"),
        ("All of it is a 10.", "no grades"),
        ("I cannot grade this.", "no grades"),
        (REPLY[:-1], "no grades"),
        ('{"grammar": 7, "plot": 3}', "no grades"),
        ("[7, 0, 10, 4]", "no grades"),
        ('{"a":' * 4_000, "no grades"),
        (json.dumps(GRADES | {"plot": 11}), "not from 0 to 10"),
        (json.dumps(GRADES | {"plot": -1}), "not from 0 to 10"),
        (json.dumps(GRADES | {"plot": "7"}), "not from 0 to 10"),
        (json.dumps(GRADES | {"plot": None}), "not from 0 to 10"),
        (json.dumps(GRADES | {"plot": True}), "not from 0 to 10"),
        (json.dumps(GRADES | {"plot": float("nan")}), "not from 0 to 10"),
        (json.dumps(GRADES | {"plot": float("inf")}), "not from 0 to 10"),
        (RUBRIC, "no grades"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_no_grade_is_not_made_into_one(reply: str, reason: str):
    with pytest.raises(UngradedError, match=reason):
        read_grades(reply)


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_any_reply_is_read_or_refused(reply: str):
    try:
        grades = read_grades(reply)
    except UngradedError:
        return
    assert set(grades) == set(CRITERIA)


def test_questions_differ_by_nothing_but_the_text():
    one, other = (json.dumps(question(text)) for text in ("A cat.", "A dog."))
    assert one.replace("A cat.", "") == other.replace("A dog.", "")


def test_a_change_of_the_rubric_is_a_new_version():
    known = {1: "095ac9e3f0263722"}
    digest = hashlib.sha256(RUBRIC.encode()).hexdigest()
    assert known[RUBRIC_VERSION] == digest[:16], "the words have changed: raise RUBRIC_VERSION and note its hash here"
