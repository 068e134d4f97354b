"""The folder in TransformerLens."""

import json
import sys

import torch
from transformer_lens.model_bridge import TransformerBridge

question = json.load(sys.stdin)
model = TransformerBridge.boot_transformers(question["folder"], device="cpu", dtype=torch.float32)
nats = []
for ids in question["ids"]:
    with torch.no_grad():
        logits = model(torch.tensor([ids]))[0].double().log_softmax(-1)
    nats.append(-logits[range(len(ids) - 1), ids[1:]].sum().item())
print(json.dumps({"nats": nats}))
