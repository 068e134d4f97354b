import pytest

from tinytale.addons.quality.endings import endings


def test_shares_by_hand():
    stories = ["The end.", "“Good night,” she said", 'He said, "Yes!"', "They went to the"]
    figures = endings(stories, [True, True, True, False])
    assert figures["ended"]["value"] == 3 / 4
    assert figures["closed"]["value"] == 2 / 3


def test_where_no_story_ends_nothing_can_be_said_of_the_ends():
    figures = endings(["And then.", "And"], [False, False])
    assert figures["ended"]["value"] == 0.0 and figures["ended"]["interval_95"] == (
        0.0,
        pytest.approx(0.6576, abs=1e-4),
    )
    assert figures["closed"] is None


def test_other_languages_close_with_their_own_signs():
    assert endings(["终。", "समाप्त।", "„Ende“", "fin »"], [True] * 4)["closed"]["value"] == 1.0
