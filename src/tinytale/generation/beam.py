"""Beam search: the most likely text that can be found by keeping a few at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tinytale.errors import UsageError
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Text, next_logits


@dataclass
class Beam:
    """A text that is still being told, in its slot."""

    text: Text
    slot: int
    log_probability: float
    """Of its new tokens together, in nats."""


def beam_search(
    decoder: Decoder, prompt: Sequence[int], beams: int, max_new_tokens: int, end_of_text: int
) -> list[int]:
    r"""The best text that `beams` beams find, without its end-of-text token (Graves, 2012; Sutskever et al., 2014).

    A text of $n$ new tokens $y$, a closing end-of-text counted, scores its mean log-probability, so that short ones do
    not win by being short:

    $$\frac1n \sum_{t=1}^{n} \log P(y_t \mid \text{prompt}, y_{<t})$$

    In each step the $2B$ best continuations of all beams by their sums are looked at. Those among the first $B$ that
    end are finished texts; the first $B$ that do not end go on. The search is over at `max_new_tokens`, or as soon as
    there are $B$ finished texts and the best beam's score so far is no better than the worst of the best $B$ of them.
    These are the rules of transformers' `generate` with its defaults. Nothing is drawn: the same is found every time.

    Raises:
        UsageError: the decoder has fewer slots than there are beams, or there are none.
        TaleError: the model's numbers are not finite.
    """
    if not 1 <= beams <= decoder.slots:
        raise UsageError(
            f"beams is {beams}; expected at least 1, and no more than the {decoder.slots} slots to hold them"
        )
    running = [Beam(Text(prompt, decoder.context_length), 0, 0.0)]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, max_new_tokens + 1):
        going_on: list[tuple[Beam, int, float]] = []
        for rank, (beam, token, log_probability) in enumerate(_continuations(decoder, running, 2 * beams)):
            if token != end_of_text and length < max_new_tokens:
                going_on.append((beam, token, log_probability))
            elif rank < beams:
                told = [*beam.text.tokens[len(prompt) :], token]
                finished.append((log_probability / length, told[:-1] if token == end_of_text else told))
        finished = sorted(finished, key=lambda scored: -scored[0])[:beams]
        if not going_on or (len(finished) == beams and going_on[0][2] / length <= finished[-1][0]):
            break
        running = _take_slots(decoder, going_on[:beams], beams)
    return finished[0][1] if finished else []


def _continuations(decoder: Decoder, running: list[Beam], count: int) -> list[tuple[Beam, int, float]]:
    """The best `count` texts with one token more: the beam, the token, their log-probability; best first."""
    slots, logits_BV = next_logits(decoder, {beam.slot: beam.text for beam in running})
    logits_BV = logits_BV[[slots.index(beam.slot) for beam in running]]
    so_far_B1 = torch.tensor([[beam.log_probability] for beam in running], dtype=torch.float64)
    scores_BV = logits_BV.double().log_softmax(dim=-1) + so_far_B1
    best = scores_BV.flatten().topk(min(count, scores_BV.numel()))
    pairs = [divmod(index, scores_BV.shape[1]) for index in best.indices.tolist()]
    return [(running[row], token, score) for (row, token), score in zip(pairs, best.values.tolist(), strict=True)]


def _take_slots(decoder: Decoder, going_on: list[tuple[Beam, int, float]], beams: int) -> list[Beam]:
    """The next beams: the best continuation of each text stays in its slot, the others get a copy in a free one."""
    taken = {beam.slot for beam, _, _ in going_on}
    free = [slot for slot in range(beams) if slot not in taken]
    running = []
    for beam, token, log_probability in going_on:
        slot = beam.slot
        if slot in taken:
            taken.remove(slot)
        else:
            slot = free.pop()
            decoder.copy(beam.slot, slot)
        text = beam.text.copy()
        text.append(token)
        running.append(Beam(text, slot, log_probability))
    return running
