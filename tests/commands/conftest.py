"""What tests of the full suite share."""

import pytest


@pytest.fixture
def few_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and short ones, so that the full suite takes a moment."""
    from tinytale.evaluation import suite  # before the settings are replaced: it names them as a type

    version, prompts = suite.read_prompts()
    monkeypatch.setattr(suite, "read_prompts", lambda: (version, prompts[::9]))
    listed, openings = suite.read_openings()
    few = {naming: some[:2] for naming, some in openings.items()}
    monkeypatch.setattr(suite, "read_openings", lambda: (listed, few))
    short = suite.CompletionSettings(max_new_tokens=2, beams=2, seeds=(0,))
    monkeypatch.setattr("tinytale.evaluation.completions.CompletionSettings", lambda: short)
