import pytest

from tinytale.addons.quality.lexicon import Lexicon
from tinytale.addons.quality.relevance import MEASURES, relevance

TRAIN = ["The boy met the girl Lily and the boy Tom.", *["He saw that she had the and to a."] * 60]
PROMPTS = [
    "One day, Lily found a kite. She was glad.",
    "There was a boy named Tom. He had a drum.",
    "A cat and a dog sat here.",
]
STAYS = ["Lily flew the kite. She saw that her kite was high.", "Tom hit the drum, and Lily saw him.", "The cat sat."]


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon(TRAIN, "word")


def test_shares_by_hand(lexicon: Lexicon):
    figures = relevance(PROMPTS, STAYS, lexicon)
    assert figures["names_kept"]["own"]["value"] == 2 / 2
    assert figures["names_of_the_prompt"]["own"]["value"] == 2 / 3  # Lily has come to Tom
    assert figures["english_pronouns_kept"]["own"]["value"] == 3 / 3
    # objects: day found kite was glad one -> kite was; there was boy named drum -> drum; cat dog sat here -> cat sat
    assert lexicon.objects(PROMPTS[0]) == {"one", "day", "found", "kite", "was", "glad"}
    assert lexicon.objects(PROMPTS[1]) == {"there", "was", "boy", "named", "drum"}
    assert figures["objects_kept"]["own"]["value"] == 5 / 15


def test_shuffled_is_against_the_prompts_of_all_others(lexicon: Lexicon):
    figures = relevance(PROMPTS, STAYS, lexicon)
    assert figures["names_kept"]["shuffled"]["value"] == 1 / 4  # Lily, who came to Tom; of Tom, and twice of both
    assert figures["english_pronouns_kept"]["shuffled"]["value"] == 0 / 3


def test_who_ignores_the_prompt_gets_the_same_from_both(lexicon: Lexicon):
    for told in ("Lily and Tom hit the drum. He sat.", "Nothing."):
        for measure, figures in relevance(PROMPTS, [told] * 3, lexicon).items():
            assert (figures["own"] is None) == (figures["shuffled"] is None), measure
            if figures["own"]:
                assert figures["own"]["value"] == pytest.approx(figures["shuffled"]["value"]), measure


def test_a_hero_who_changes_is_found_out(lexicon: Lexicon):
    told = ["He was glad, and he flew.", "She hit it.", "He sat."]
    assert relevance(PROMPTS, told, lexicon)["english_pronouns_kept"]["own"]["value"] == 0.0


def test_where_nothing_is_to_be_kept_there_is_no_share(lexicon: Lexicon):
    figures = relevance(["小猫"], ["小狗"], lexicon)
    assert tuple(figures) == MEASURES
    assert figures["names_kept"] == figures["english_pronouns_kept"] == {"own": None, "shuffled": None}
    assert figures["objects_kept"]["shuffled"] is None  # there is no other prompt


def test_the_shuffled_prompts_are_never_the_own_one_told_again(lexicon: Lexicon):
    """As of a model that is asked three times for each prompt, and always stays with it."""
    once, thrice = relevance(PROMPTS[:2], STAYS[:2], lexicon), relevance(PROMPTS[:2] * 3, STAYS[:2] * 3, lexicon)
    for measure, figures in once.items():
        for prompts, figure in figures.items():
            assert thrice[measure][prompts]["value"] == pytest.approx(figure["value"]), measure
            assert thrice[measure][prompts]["interval_95"] == pytest.approx(figure["interval_95"]), measure
