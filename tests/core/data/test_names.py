import re
from pathlib import Path

import pytest

from tinytale.data.names import Renamer, find_names, name_lists
from tinytale.data.prepare import prepare
from tinytale.data.shards import Manifest
from tinytale.data.splits import story_digest
from tinytale.data.stored import open_splits
from tinytale.errors import UsageError

STORY = "Lily met Tom. The Sun was warm, and Lily's cat was with her. Then Tom, Max, Sue and Lily went home."
NAMES = frozenset({"Lily", "Tom", "Max", "Sue"})


def renamed(story: str, share: float = 1.0, names: frozenset[str] = NAMES) -> str:
    return Renamer(names, share).rename(story, story_digest(story))


def test_names_are_replaced_throughout_each_by_one_other_and_at_most_three():
    before, after = re.findall(r"\w+", STORY), re.findall(r"\w+", renamed(STORY))
    replaced = {old: new for old, new in zip(before, after, strict=True) if old != new}
    assert set(replaced) == {"Lily", "Tom", "Max"}  # the first three that the story says
    assert [replaced.get(word, word) for word in before] == after
    assert len({*replaced.values()} - NAMES) == 3


def test_a_share_of_the_stories_is_changed_and_each_always_in_the_same_way():
    stories = [f"Once there was a girl called Lily, who had {n} hats." for n in range(400)]
    after = [renamed(story, 0.3) for story in stories]
    assert after == [renamed(story, 0.3) for story in reversed(stories)][::-1]
    assert 90 < sum(a != b for a, b in zip(stories, after, strict=True)) < 150
    assert renamed(STORY, 0.0) == STORY


def test_measured_names_neither_replace_others_nor_are_invented():
    lists = name_lists()
    assert not set(lists["replacements"]) & set(lists["measured"])
    lists["measured"].extend(words := {renamed(f"Lily had {n} hats.").split()[0] for n in range(300)})
    try:
        assert not {renamed(f"Lily had {n} hats.").split()[0] for n in range(300)} & words
    finally:
        name_lists.cache_clear()


def test_names_are_words_that_hardly_ever_stand_without_their_capital_letter():
    text = (
        "One day, while it was raining, Lily and her Mom went to see a dog. Then they saw Mr Fox on Monday, and a mom"
        " and a fox and a cat had tea with them in the small garden under the old tree."
    )
    assert find_names([text] * 10) == {"Lily"} and find_names(["when she saw Éloïse again, the sun came out"] * 10)
    with pytest.raises(UsageError, match="0 words"):
        find_names([text] * 4)


@pytest.mark.parametrize("text", ["kein name, nirgends", "Der alte Mann und das rote Haus und die junge Frau"])
def test_a_text_in_which_capital_letters_do_not_tell_names_is_refused(text):
    with pytest.raises(UsageError, match="leave out --rename"):
        find_names([text] * 20)


def test_dev_and_test_stories_and_the_tokenizer_stay_as_they_are(tmp_path: Path):
    texts = [
        f"One day, after lunch, Lily and Tom ate all of the {n} plums that were there in the old garden."
        for n in range(300)
    ]
    (tmp_path / "stories.txt").write_text("\n<|endoftext|>\n".join(texts))
    said: list[str] = []
    source = str(tmp_path / "stories.txt")
    plain = prepare(source, tmp_path / "plain", vocab_size=300, processes=1)
    other = prepare(source, tmp_path / "renamed", vocab_size=300, processes=1, rename=0.5, say=said.append)
    assert "2 words are names: Lily, Tom" in said[0]
    assert plain.tokenizer_sha256 == other.tokenizer_sha256 and plain.digest != other.digest
    before, after = (
        {split: list(stories) for split, stories in open_splits(folder, Manifest.load(folder)).items()}
        for folder in (tmp_path / "plain", tmp_path / "renamed")
    )
    assert before["dev"] == after["dev"] and before["test"] == after["test"]
    changed = [a != b for a, b in zip(before["train"], after["train"], strict=True)]
    assert 0.4 < sum(changed) / len(changed) < 0.6
    assert prepare(source, tmp_path / "renamed", vocab_size=300, processes=1, rename=0.5).digest == other.digest
    with pytest.raises(UsageError, match="other rename"):
        prepare(source, tmp_path / "renamed", vocab_size=300, processes=1)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(tmp_path: Path, share):
    with pytest.raises(UsageError, match="must be from 0 to 1"):
        prepare("builtin", tmp_path / "x", rename=share)
