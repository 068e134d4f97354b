"""The folder in transformers, version 4 or 5: what a person writes who knows only transformers."""

import contextlib
import io
import json
import logging
import math
import os
import sys
import tempfile
import warnings

import torch
import transformers
from transformers import AutoTokenizer, DataCollatorForLanguageModeling, GPT2LMHeadModel, Trainer, TrainingArguments

question = json.load(sys.stdin)
folder, prompts, stories, new = (question[name] for name in ("folder", "prompts", "stories", "new_tokens"))
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

os.chdir(question["card_folder"])
transformers.set_seed(0)
with contextlib.redirect_stdout(io.StringIO()) as printed:
    exec(question["card_code"], {})

model = GPT2LMHeadModel.from_pretrained(folder, dtype="float32").eval()
tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
opened = ["<|endoftext|>" + prompt for prompt in prompts]


def told(texts):
    read = tokenizer(texts, return_tensors="pt", padding=True)
    return tokenizer.batch_decode(model.generate(**read, max_new_tokens=new, do_sample=False), skip_special_tokens=True)


nats = []
for story in stories:
    read = tokenizer("<|endoftext|>" + story, return_tensors="pt")
    with torch.no_grad():
        log_probabilities = model(**read).logits[0].double().log_softmax(-1)
    targets = read["input_ids"][0, 1:]
    nats.append(-log_probabilities[range(len(targets)), targets].sum().item())

pipe = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer)
chat = pipe([{"role": "user", "content": prompts[0]}], max_new_tokens=new, do_sample=False)

with tempfile.TemporaryDirectory() as out:
    settings = TrainingArguments(
        out, max_steps=1, learning_rate=0.0, per_device_train_batch_size=len(stories), report_to=[], use_cpu=True
    )
    rows = [dict(tokenizer("<|endoftext|>" + story)) for story in stories]
    collator = DataCollatorForLanguageModeling(AutoTokenizer.from_pretrained(folder), mlm=False)
    trained = Trainer(model, settings, train_dataset=rows, data_collator=collator).train()

assert all(math.isfinite(each) for each in nats)
answer = {
    "version": transformers.__version__,
    "card": printed.getvalue(),
    "alone": [told([text])[0] for text in opened],
    "together": told(opened),
    "piped": [
        each[0]["generated_text"].removeprefix("<|endoftext|>")
        for each in pipe(opened, batch_size=2, max_new_tokens=new, do_sample=False)
    ],
    "chat": prompts[0] + chat[0]["generated_text"][-1]["content"],
    "nats": nats,
    "trainer_loss": trained.training_loss,
}
print(json.dumps(answer))
