"""A blind reading: stories of several authors are mixed for readers, and their grades become one table.

    python tools/reading.py mix READING.json --out FOLDER real=FILE old=FILE new=FILE
    python tools/reading.py count READING.json reader1.json reader2.json
    python tools/reading.py marks READING.json MARKS.toml --told new --weights SHA-256

`mix` writes the stories for the readers, and a key for us; `count` adds the grades and prints the table. A FILE is JSON
with a list `stories`, of which the first 30 are taken. A reader's file is a list of objects, one a story: `number`, a
grade for each criterion of the rubric (`tinytale.addons.judge.rubric`), and `faults`, a list of kinds and severities.
READING.json keeps whose each story is (with a hash of its text, not the text), the grades and the figures. `marks`
writes down, for the report, which stories of one author and which real ones have faults that a reader calls clear or
grave, and the mean grades of both.
"""

import argparse
import hashlib
import itertools
import json
import random
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tinytale.addons.judge.rubric import CRITERIA, HIGHEST, RUBRIC, RUBRIC_VERSION, are_grades
from tinytale.evaluation.intervals import ends_text, figure, ratio_and_error
from tinytale.files import write_json, write_text

STORIES = 30
"""Of each author."""


def mix(reading: Path, out: Path, authors: dict[str, Path]) -> None:
    """Write the stories in an order of chance, numbered, without a word about their authors; keep the key."""
    texts = [
        (author, place, story.strip())
        for author, file in authors.items()
        for place, story in enumerate(json.loads(file.read_text(encoding="utf-8"))["stories"][:STORIES])
    ]
    random.Random(0).shuffle(texts)
    pages = [f"## {number}\n\n{story}\n" for number, (_, _, story) in enumerate(texts, 1)]
    write_text(out / "rubric.md", RUBRIC)
    write_text(out / "stories.md", "\n".join(pages))
    key = [
        {"number": number, "author": author, "place": place, "sha256": hashlib.sha256(story.encode()).hexdigest()}
        for number, (author, place, story) in enumerate(texts, 1)
    ]
    write_json(reading, {"rubric": RUBRIC_VERSION, "stories": key})


def count(reading: Path, readers: list[Path]) -> None:
    """Add the readers' grades to the reading, with means, intervals and how far the readers agree; print the table."""
    content = json.loads(reading.read_text(encoding="utf-8"))
    grades = {reader.stem: json.loads(reader.read_text(encoding="utf-8")) for reader in readers}
    numbers = [story["number"] for story in content["stories"]]
    for name, given in grades.items():
        if [one["number"] for one in given] != numbers or not all(map(are_grades, given)):
            raise SystemExit(
                f"{name}: expected a grade from 0 to {HIGHEST} for every criterion of every story, in order"
            )
    authors = list(dict.fromkeys(story["author"] for story in content["stories"]))
    content |= {"readers": grades, "figures": {author: _figures(content, grades, author) for author in sorted(authors)}}
    content["agreement"] = {criterion: _agreement(grades, criterion) for criterion in CRITERIA}
    write_json(reading, content)
    print(_table(content))


def _figures(content: dict[str, Any], grades: dict[str, Any], author: str) -> dict[str, Any]:
    """The mean grades of an author's stories, over readers, with intervals over stories; how many have each fault."""
    chosen = [place for place, story in enumerate(content["stories"]) if story["author"] == author]
    found: dict[str, Any] = {"stories": len(chosen)}
    for criterion in CRITERIA:
        means = np.array([np.mean([given[place][criterion] for given in grades.values()]) for place in chosen])
        found[criterion] = figure(*ratio_and_error(means, np.ones(len(means))), most=HIGHEST)
    faults = Counter(
        kind
        for given in grades.values()
        for place in chosen
        for kind in {fault["kind"] for fault in given[place]["faults"] if fault["severity"] != "slight"}
    )
    found["faults"] = {kind: number / len(grades) for kind, number in faults.most_common()}
    return found


def _agreement(grades: dict[str, Any], criterion: str) -> dict[str, float]:
    """Of each pair of readers, then the mean: Pearson's correlation of their grades, and how far these are apart."""
    lists = [np.array([one[criterion] for one in given], float) for given in grades.values()]
    pairs = list(itertools.combinations(lists, 2))
    return {
        "correlation": float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])),
        "mean_difference": float(np.mean([np.abs(a - b).mean() for a, b in pairs])),
    }


def marks(reading: Path, out: Path, told: str, weights: str) -> None:
    """Keep the kinds in MARKS.toml, and write anew which stories have them: those of `told`, and real ones."""
    content = json.loads(reading.read_text(encoding="utf-8"))
    head = out.read_text(encoding="utf-8").split("[told]")[0]
    kinds = list(tomllib.loads(head)["kinds"])
    parts = [head]
    for section, author, source in (("told", told, f'weights = "{weights}"'), ("real", "real", 'split = "dev"')):
        chosen = sorted((s for s in content["stories"] if s["author"] == author), key=lambda story: story["place"])
        found = [
            {
                fault["kind"]
                for given in content["readers"].values()
                for fault in given[story["number"] - 1]["faults"]
                if fault["severity"] != "slight"
            }
            for story in chosen
        ]
        parts.append(f"[{section}]\n{source}\nstories = [")
        parts += [f'    "{" ".join(kind for kind in kinds if kind in story)}",' for story in found]
        parts.append(f"]\n\n[{section}.failing]")
        parts += [f"{kind} = {sum(kind in story for story in found)}" for kind in kinds]
        flawless = sum(not story for story in found)
        parts.append(f"\n[{section}.all]\nread = {len(found)}\nflawless = {flawless}\n\n[{section}.grades]")
        figures = content["figures"][author]
        parts += [*(f"{criterion} = {figures[criterion]['value']:.3f}" for criterion in CRITERIA), ""]
    write_text(out, "\n".join(parts).rstrip("\n") + "\n")


def _table(content: dict[str, Any]) -> str:
    rows = [("author", "stories", *CRITERIA), ("---", "--:", *["--:"] * len(CRITERIA))]
    for author, found in content["figures"].items():
        cells = (f"{found[c]['value']:.1f} ({ends_text(found[c]['interval_95'], '.1f')})" for c in CRITERIA)
        rows.append((author, str(found["stories"]), *cells))
    rows.append(("readers' correlation", "", *(f"{content['agreement'][c]['correlation']:.2f}" for c in CRITERIA)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    mixing = verbs.add_parser("mix")
    mixing.add_argument("reading", type=Path)
    mixing.add_argument("authors", nargs="+", metavar="AUTHOR=FILE")
    mixing.add_argument("--out", type=Path, required=True)
    counting = verbs.add_parser("count")
    counting.add_argument("reading", type=Path)
    counting.add_argument("readers", nargs="+", type=Path)
    marking = verbs.add_parser("marks")
    marking.add_argument("reading", type=Path)
    marking.add_argument("marks", type=Path)
    marking.add_argument("--told", required=True)
    marking.add_argument("--weights", required=True)
    asked = parser.parse_args()
    if asked.verb == "marks":
        marks(asked.reading, asked.marks, asked.told, asked.weights)
    elif asked.verb == "mix":
        asked.out.mkdir(parents=True, exist_ok=True)
        mix(asked.reading, asked.out, {name: Path(file) for name, _, file in (a.partition("=") for a in asked.authors)})
    else:
        count(asked.reading, asked.readers)


if __name__ == "__main__":
    main()
