"""The folder in mlx-lm, which leaves out the space that an answer begins with."""

import json
import sys

from mlx_lm import generate, load

question = json.load(sys.stdin)
model, tokenizer = load(question["folder"])
new = question["new_tokens"]
opened = ["<|endoftext|>" + prompt for prompt in question["prompts"]]
alone = [generate(model, tokenizer, prompt=prompt, max_tokens=new) for prompt in opened]
turns = tokenizer.apply_chat_template([{"role": "user", "content": question["prompts"][0]}], add_generation_prompt=True)
chat = generate(model, tokenizer, prompt=turns, max_tokens=new)
print(json.dumps({"alone": alone, "chat": chat}))
