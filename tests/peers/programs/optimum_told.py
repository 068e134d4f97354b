"""The ONNX folder in Optimum."""

import json
import sys

from optimum.onnxruntime import ORTModelForCausalLM
from transformers import AutoTokenizer

question = json.load(sys.stdin)
model = ORTModelForCausalLM.from_pretrained(question["onnx"], file_name="model.onnx", subfolder="onnx")
tokenizer = AutoTokenizer.from_pretrained(question["onnx"], padding_side="left")


def told(prompts):
    read = tokenizer(["<|endoftext|>" + prompt for prompt in prompts], return_tensors="pt", padding=True)
    tokens = model.generate(**read, max_new_tokens=question["new_tokens"], do_sample=False)
    return tokenizer.batch_decode(tokens, skip_special_tokens=True)


prompts = question["prompts"]
print(json.dumps({"alone": [told([prompt])[0] for prompt in prompts], "together": told(prompts)}))
