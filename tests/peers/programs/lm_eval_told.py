"""The folder in lm-eval, by `--model hf` and a task of our own: bits per byte of each story."""

import json
import math
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

TASK = """
task: told
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: bits_per_byte}}]
"""

question = json.load(sys.stdin)
with TemporaryDirectory() as folder:
    file = Path(folder) / "stories.jsonl"
    file.write_text("".join(json.dumps({"text": story}) + "\n" for story in question["stories"]))
    (Path(folder) / "told.yaml").write_text(TASK.format(file=json.dumps(str(file))))
    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": question["folder"], "dtype": "float32"},
        tasks=["told"],
        task_manager=TaskManager(include_path=folder, include_defaults=False),
        device="cpu",
        bootstrap_iters=0,
    )
bits = found["results"]["told"]["bits_per_byte,none"]
assert math.isfinite(bits)
print(json.dumps({"bits_per_byte": bits}))
