from collections import Counter

from tinytale.addons.builtin.stories import story
from tinytale.addons.quality.lexicon import Lexicon
from tinytale.addons.quality.prompts import read_prompts, speaks_their_language


def test_there_are_enough_of_every_kind_and_none_twice():
    version, prompts = read_prompts()
    assert version == 1 and len({prompt.text for prompt in prompts}) == len(prompts) >= 40
    kinds = Counter(prompt.kind for prompt in prompts)
    assert set(kinds) == {"beginning", "middle", "reasoning", "factual", "dialogue"}
    assert all(8 <= count <= 10 for count in kinds.values())


def test_a_prompt_can_be_gone_on_with():
    for prompt in read_prompts()[1]:
        assert prompt.text == prompt.text.strip() and "\n" not in prompt.text
        assert prompt.text.endswith('said, "') == (prompt.kind == "dialogue")
        assert prompt.text.endswith(".") == (prompt.kind == "beginning"), prompt.text


def test_the_list_is_changed_only_with_its_version():
    import hashlib

    version, prompts = read_prompts()
    text = "\n".join(f"{prompt.kind} {prompt.text}" for prompt in prompts)
    assert (version, hashlib.sha256(text.encode()).hexdigest()[:16]) == (1, "1e0517c89eb5ac8e")


def test_they_are_english():
    _, prompts = read_prompts()
    assert speaks_their_language(Lexicon([story(0, number) for number in range(40)], "word"), prompts)
    german = ["Es war einmal ein kleiner Igel, der wohnte unter einem Haufen Laub.", "Eines Tages fand er ein Boot."]
    assert not speaks_their_language(Lexicon(german, "word"), prompts)
