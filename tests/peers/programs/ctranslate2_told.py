"""The folder in CTranslate2, converted by its own converter."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import ctranslate2
from ctranslate2.converters import TransformersConverter
from transformers import AutoTokenizer

question = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(question["folder"])


def tokens(text):
    return tokenizer.convert_ids_to_tokens(tokenizer("<|endoftext|>" + text)["input_ids"])


with TemporaryDirectory() as folder:
    out = TransformersConverter(question["folder"]).convert(str(Path(folder) / "model"))
    model = ctranslate2.Generator(out, compute_type="float32", intra_threads=1)
    prompts = [tokens(prompt) for prompt in question["prompts"]]
    results = model.generate_batch(prompts, max_length=question["new_tokens"], include_prompt_in_result=False)
    told = [tokenizer.decode(result.sequences_ids[0]) for result in results]
    scores = model.score_batch([tokens(story) for story in question["stories"]])
nats = [-sum(score.log_probs) for score in scores]
print(json.dumps({"told": told, "nats": nats}))
