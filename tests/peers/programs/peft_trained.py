"""The folder fine-tuned by PEFT's LoRA for a few steps, merged and saved again."""

import json
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, GPT2LMHeadModel

question = json.load(sys.stdin)
torch.manual_seed(0)
base = GPT2LMHeadModel.from_pretrained(question["folder"], dtype="float32")
tokenizer = AutoTokenizer.from_pretrained(question["folder"])
lora = LoraConfig(r=4, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True, task_type="CAUSAL_LM")
model = get_peft_model(base, lora)
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
batch = tokenizer(["<|endoftext|>" + story for story in question["stories"]], return_tensors="pt", padding=True)
labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
losses = []
for _ in range(4):
    loss = model(**batch, labels=labels).loss
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    losses.append(loss.item())
merged = model.merge_and_unload().eval()
merged.save_pretrained(question["out"])
tokenizer.save_pretrained(question["out"])
with torch.no_grad():
    logits = merged(torch.tensor([question["ids"]])).logits[0]
print(json.dumps({"losses": losses, "logits": logits[-1].tolist()}))
