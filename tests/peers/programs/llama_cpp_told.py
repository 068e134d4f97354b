"""The GGUF file in llama.cpp: its server, inside this process, asked as any client asks it."""

import json
import sys
from urllib.request import Request, urlopen

import xllamacpp

question = json.load(sys.stdin)
new = question["new_tokens"]
settings = xllamacpp.CommonParams()
settings.model.path = question["gguf"]
settings.n_ctx = question["context"]
settings.n_parallel = settings.cpuparams.n_threads = 1
server = xllamacpp.Server(settings)


def post(path, **body):
    body = json.dumps(body).encode()
    with urlopen(Request(server.listening_address + path, body, {"Content-Type": "application/json"})) as answer:
        return json.load(answer)


def next_tokens(ids):
    """The five likeliest next tokens after a text, with their log-probabilities."""
    told = post("/completion", prompt=ids, n_predict=1, n_probs=5, temperature=0, cache_prompt=False)
    return {each["id"]: each["logprob"] for each in told["completion_probabilities"][0]["top_logprobs"]}


def completion(prompt):
    asked = {"prompt": prompt, "max_tokens": new, "temperature": 0}
    return prompt + server.handle_completions(asked)["choices"][0]["text"]


turn = {"role": "user", "content": question["prompts"][0]}
chat = server.handle_chat_completions({"messages": [turn], "max_tokens": new, "temperature": 0})
answer = {
    "tokens": [
        post("/tokenize", content=text, add_special=False, parse_special=False)["tokens"] for text in question["texts"]
    ],
    "opened": post("/tokenize", content="Once", add_special=True)["tokens"],
    "next": [next_tokens(ids) for ids in question["beginnings"]],
    "alone": [completion(prompt) for prompt in question["prompts"]],
    "chat": turn["content"] + chat["choices"][0]["message"]["content"],
    "chat_tokens": chat["usage"]["prompt_tokens"],
}
print(json.dumps(answer), flush=True)
