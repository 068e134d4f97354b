from pathlib import Path

import torch

from tinytale.addons.quality.samples import SampleSettings, tell_samples
from tinytale.config import ModelConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.generation.decoding import Decoding, generate, random_numbers
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.gpt2 import GPT2


def test_stories_told_in_batches_are_those_told_one_at_a_time(dataset: Path):
    torch.manual_seed(0)
    tokenizer = load_tokenizer(dataset)
    model = GPT2(ModelConfig(vocab_size=300, context_length=16, layers=1, heads=2, width=16)).eval()
    end, choose = tokenizer.end_of_text, Decoding(temperature=0.8).choice()
    settings = SampleSettings(stories=12, max_new_tokens=24, seed=5)
    told = tell_samples(TorchDecoder(model, slots=5), tokenizer, settings).stories
    alone = [generate(model, [end], choose, random_numbers(5, number), 24, end) for number in range(12)]
    assert told == [tokenizer.decode(tokens) for tokens in alone]
