"""The reading of docs/stories.md is of the weights that are shipped, and its table counts the marks that were made."""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARKS = tomllib.loads((ROOT / "docs/results/reading/small.toml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs/stories.md").read_text(encoding="utf-8")


def counts(stories: list[str]) -> Counter[str]:
    kinds = [set(story.split()) for story in stories]
    assert set().union(*kinds) <= set(MARKS["kinds"])
    return Counter(kind for story in kinds for kind in story)


def test_the_stories_that_were_read_are_those_of_the_shipped_weights():
    samples = json.loads((ROOT / "weights/small/samples.json").read_text(encoding="utf-8"))
    assert MARKS["told"]["weights"] == samples["weights"]
    assert len(MARKS["told"]["stories"]) == len(MARKS["real"]["stories"]) == 30


def test_the_table_counts_the_marks():
    table = re.findall(r"^\| `(\w+)`: .* \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    model, real = counts(MARKS["told"]["stories"]), counts(MARKS["real"]["stories"])
    assert {kind: (int(mine), int(theirs)) for kind, mine, theirs in table} == {
        kind: (model[kind], real[kind]) for kind in MARKS["kinds"]
    }
    for side, counted in (("told", model), ("real", real)):
        stories = MARKS[side]["stories"]
        assert MARKS[side]["failing"] == {kind: counted[kind] for kind in MARKS["kinds"]}
        assert MARKS[side]["all"] == {"read": len(stories), "flawless": sum(not story for story in stories)}
    flawless = [MARKS[side]["all"]["flawless"] for side in ("told", "real")]
    assert f"| none of these | {flawless[0]} | {flawless[1]} |" in PAGE
