import pytest
import torch

from tinytale.config import ModelConfig
from tinytale.errors import UsageError
from tinytale.generation.decoding import Decoding, Text, generate, random_numbers
from tinytale.generation.sampling import Randoms
from tinytale.model.gpt2 import GPT2

VOCABULARY, CONTEXT, NEVER = 23, 8, 22
GREEDY = Decoding(greedy=True).choice()


@pytest.fixture
def model() -> GPT2:
    torch.manual_seed(0)
    model = GPT2(ModelConfig(vocab_size=VOCABULARY, context_length=CONTEXT, layers=2, heads=2, width=16)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        model.embedding.weight_VC[NEVER] = 0.0
    return model


def without_cache(model: GPT2, prompt: list[int], choose, randoms: Randoms, count: int) -> list[int]:
    """Each token from a fresh look at what is kept: at most a context, cut to its last half when it is full."""
    kept, made = prompt[-CONTEXT:], []
    for _ in range(count):
        if len(kept) > CONTEXT:
            kept = kept[-(CONTEXT // 2) :]
        with torch.no_grad():
            token = choose(model(torch.tensor([kept]))[0, -1], [*prompt, *made], randoms)
        made.append(token)
        kept = [*kept, token]
    return made


@pytest.mark.parametrize("length", [1, 3, CONTEXT - 1, CONTEXT, CONTEXT + 5])
@pytest.mark.parametrize(
    "choose", [GREEDY, Decoding(temperature=0.8, top_k=9, top_p=0.95).choice()], ids=["greedy", "drawn"]
)
def test_tokens_are_those_of_the_model_without_a_cache(model: GPT2, length: int, choose):
    prompt = [(7 * index) % 20 for index in range(length)]
    made = list(generate(model, prompt, choose, random_numbers(3, 0), 3 * CONTEXT, end_of_text=-1))
    assert made == without_cache(model, prompt, choose, random_numbers(3, 0), 3 * CONTEXT)
    assert len(made) == 3 * CONTEXT


def test_a_prompt_longer_than_the_context_is_read_from_its_last_tokens(model: GPT2):
    tail = list(range(CONTEXT))
    long, short = (list(generate(model, p, GREEDY, random_numbers(0, 0), 9, -1)) for p in ([9, 9, 9, *tail], tail))
    assert long == short


def test_generation_stops_at_the_end_of_text_and_does_not_give_it(model: GPT2):
    made = list(generate(model, [1, 2], GREEDY, random_numbers(0, 0), 20, end_of_text=-1))
    end = made[4]
    assert list(generate(model, [1, 2], GREEDY, random_numbers(0, 0), 20, end)) == made[: made.index(end)]


def test_a_context_of_one_goes_on():
    model = GPT2(ModelConfig(vocab_size=5, context_length=1, layers=1, heads=1, width=4)).eval()
    assert len(list(generate(model, [1, 2, 3], GREEDY, random_numbers(0, 0), 4, end_of_text=-1))) == 4


def test_a_seed_tells_the_same_and_another_another(model: GPT2):
    def told(seed: int, sample: int) -> list[int]:
        return list(generate(model, [1], Decoding().choice(), random_numbers(seed, sample), 20, -1))

    assert told(0, 0) == told(0, 0)
    assert len({tuple(told(seed, sample)) for seed in range(3) for sample in range(3)}) == 9


def test_tokens_come_one_at_a_time(model: GPT2):
    calls = []
    model.final_norm.register_forward_hook(lambda *_: calls.append(1))
    stream = generate(model, [1, 2, 3], GREEDY, random_numbers(0, 0), 5, -1)
    assert calls == []
    next(stream)
    assert calls == [1]


def test_greedy_wins_over_the_other_settings(model: GPT2):
    choose = Decoding(greedy=True, temperature=9.0, top_k=1).choice()
    assert choose(torch.tensor([0.0, 2.0, 1.0]), [0], random_numbers(0, 0)) == 1


def test_greedy_heeds_the_repetition_penalty():
    choose = Decoding(greedy=True, repetition_penalty=3.0).choice()
    assert [choose(torch.tensor([0.0, 2.0, 1.0]), tokens, random_numbers(0, 0)) for tokens in ([0], [1], [1, 2])] == [
        1,
        2,
        1,
    ]


@pytest.mark.parametrize(
    "setting",
    [{"temperature": 0.0}, {"top_k": 0}, {"top_p": 2.0}, {"min_p": -0.1}, {"repetition_penalty": 0.0}],
    ids=str,
)
def test_a_setting_out_of_range_is_refused_before_anything_is_made(setting):
    with pytest.raises(UsageError):
        Decoding(**setting).choice()


def test_random_numbers_are_those_that_torch_gives_one_by_one():
    numbers, generator = random_numbers(3, 5), torch.Generator().manual_seed(3 * 1_000_003 + 5)
    for _ in range(200):
        assert next(numbers) == torch.rand((), generator=generator, dtype=torch.float64).item()


def test_a_text_knows_its_different_tokens():
    text = Text([3, 1, 3], context_length=4)
    text.append(2)
    other = text.copy()
    other.append(7)
    text.append(1)
    assert list(text.seen) == [3, 1, 2] and list(other.seen) == [3, 1, 2, 7]
