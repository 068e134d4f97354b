"""Models with planted faults, as decoders: each slot holds a text, and a rule says which tokens may follow it."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

Rule = Callable[[list[int]], set[int]]
"""From the tokens of a text, its opening end of text included, to those that may come next, all alike likely."""


class RuleDecoder:
    """A decoder that follows a rule instead of a model."""

    def __init__(self, vocab_size: int, slots: int, rule: Rule, ignores_prompts: bool):
        self.vocab_size, self.slots, self.context_length = vocab_size, slots, 2**14
        self.rule, self.ignores_prompts = rule, ignores_prompts
        self.texts: list[list[int]] = [[] for _ in range(slots)]

    def prefill(self, slot: int, tokens: Sequence[int]) -> Tensor:
        self.texts[slot] = list(tokens[:1] if self.ignores_prompts else tokens)
        return self._logits(slot)

    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Tensor:
        for slot, token in zip(slots, tokens, strict=True):
            self.texts[slot].append(token)
        return torch.stack([self._logits(slot) for slot in slots])

    def copy(self, source: int, target: int) -> None:
        self.texts[target] = list(self.texts[source])

    def _logits(self, slot: int) -> Tensor:
        logits_V = torch.full((self.vocab_size,), -100.0)
        logits_V[sorted(self.rule(self.texts[slot]))] = 0.0
        return logits_V


@pytest.fixture
def follows() -> Callable[..., RuleDecoder]:
    """`follows(rule)`: a decoder for the dataset's 300 tokens."""

    def make(rule: Rule, ignores_prompts: bool = False) -> RuleDecoder:
        return RuleDecoder(300, 8, rule, ignores_prompts)

    return make


@pytest.fixture
def recites() -> Callable[[list[list[int]], int], Rule]:
    """`recites(stories, end)`: the rule of whoever knows these stories by heart, and no others."""

    def make(stories: list[list[int]], end: int) -> Rule:
        following: dict[tuple[int, ...], set[int]] = {}
        for story in stories:
            whole = [end, *story, end]
            for place in range(1, len(whole)):
                following.setdefault(tuple(whole[:place]), set()).add(whole[place])
        return lambda text: following.get(tuple(text), {end})

    return make
