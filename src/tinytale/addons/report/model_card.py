"""The model card of a run: what it is, what it was trained on, how well it does, how to load it, what not to expect.

Every figure is read from a file of the run folder.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tinytale.addons.quality.memorisation import memorisation_rows
from tinytale.addons.quality.suite_tables import quality_rows, sense_rows
from tinytale.addons.report.card_stories import Marks, card_stories
from tinytale.addons.report.markdown import code, escaped, fenced, table
from tinytale.config import TEMPERATURE, TrainConfig
from tinytale.errors import TaleError
from tinytale.evaluation.intervals import ends_text
from tinytale.evaluation.results import VIEWS, perplexity_text, read_results
from tinytale.files import read_json
from tinytale.model.folder import is_gpt2
from tinytale.recipes import RECIPES, typed_again
from tinytale.runs import RunFolder
from tinytale.training.display import clock
from tinytale.training.history import cost_before
from tinytale.training.metrics import best_look, last_value, read_metrics


@dataclass(frozen=True)
class Notes:
    """What no file of a run knows, and only its author can say."""

    license: str | None = None
    """Of the weights, as the Hub names it: `mit`."""
    language: str | None = None
    """Of the stories, as the Hub names it: `en`."""
    data: str | None = None
    """What the stories are, who wrote them, and under which licence they come."""
    training: str | None = None
    """On which machine it was trained, and what came before this run."""
    marks: Marks | None = None
    """What a reader marked in the run's samples."""


def model_card(run: RunFolder, name: str, notes: Notes, loaded_from: str | None = None) -> str:
    """The card as Markdown with a front matter, as the Hub reads it.

    `loaded_from` is the path of the model folder for who reads the card. Default: `model` in the folder of that name.

    Raises:
        UsageError: `config.toml` is missing or damaged, or the marks are of other stories.
        TaleError: another file of the run is missing or damaged.
    """
    config = run.read_config()
    parts = [
        _front_matter(config, notes),
        _summary(run, config, name),
        _training(run, config, notes),
        _scores(run),
        card_stories(run, notes.marks),
        _loading(config, name, loaded_from or f"{name}/model"),
        _limits(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def readdressed(card: str, loaded_from: str) -> str:
    """A card of ours for a model folder that now lies elsewhere; any other text stays as it is."""
    heading = re.search(r"^# (.+)$", card, flags=re.MULTILINE)

    def moved(found: re.Match[str]) -> str:
        name = json.loads(found[2], strict=False).removesuffix("/model")
        ours = heading and heading[1] == escaped(name)
        return found[1] + (json.dumps(loaded_from, ensure_ascii=False) if ours else found[2])

    return re.sub(r'(from_pretrained\()("(?:[^"\\\n]|\\["\\bfnrt]|\\u[0-9a-f]{4})*")', moved, card)


def parameter_count(folder: Path) -> int:
    """Learned numbers in a GPT-2 folder; the tied output layer is not stored, and counts once."""
    with safe_open(folder / "model.safetensors", framework="np") as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def _front_matter(config: TrainConfig, notes: Notes) -> str:
    published = is_gpt2(config.model)
    lines = ["---"]
    lines += [f"license: {json.dumps(notes.license)}"] if notes.license else []
    lines += [f"language: {json.dumps(notes.language)}"] if notes.language else []
    lines += [f"library_name: {'transformers' if published else 'tinytale'}", "pipeline_tag: text-generation", "tags:"]
    lines += ["- gpt2"] if published else []
    return "\n".join([*lines, "- stories", "- tinytale", "---"])


def _summary(run: RunFolder, config: TrainConfig, name: str) -> str:
    model = config.model
    dtype = read_json(run.model / "config.json").get("dtype")
    kind = "A GPT-2" if is_gpt2(model) else f"A GPT-2 variant (norm: {model.norm}, positions: {model.positions})"
    start = f"from the weights of {code(config.run.start_from)}" if config.run.start_from else "from scratch"
    teacher = f", following the predictions of {code(config.run.teacher)} too," if config.run.teacher else ""
    return (
        f"# {escaped(name)}\n\n{kind} with {parameter_count(run.model):,} weights in {dtype}, trained {start}{teacher}"
        f" with tinytale. {model.layers} layers of width {model.width} with {model.heads} heads, a context of"
        f" {model.context_length} tokens, a byte-level BPE vocabulary of {model.vocab_size:,}."
    )


def _training(run: RunFolder, config: TrainConfig, notes: Notes) -> str:
    entries = list(read_metrics(run.metrics))
    steps, seconds, tokens = (last_value(entries, field) for field in ("step", "seconds", "tokens"))
    best = None if (place := best_look(entries)) is None else entries[place]
    data, optimiser, past = config.data, config.optimiser, cost_before(run)
    rates = f"peak learning rate {optimiser.learning_rate:g}"
    if optimiser.algorithm == "muon":
        rates = f"peak learning rates {optimiser.matrix_learning_rate:g} (matrices) and {optimiser.learning_rate:g}"
    rows = [
        ("dataset", code(data.folder) if data.folder else ""),
        ("SHA-256 of the dataset", code(data.digest) if data.digest else ""),
        ("recipe", code(config.recipe) if config.recipe else ""),
        ("SHA-256 of the first weights", code(config.run.start_digest) if config.run.start_digest else ""),
        ("teacher's share of the loss", f"{config.run.teacher_weight:g}" if config.run.teacher else ""),
        ("SHA-256 of the teacher's weights", code(config.run.teacher_digest) if config.run.teacher_digest else ""),
        ("steps", f"{steps:,}" if steps else ""),
        ("tokens seen", f"{tokens:,}" if tokens else ""),
        ("tokens seen before, by its first weights", f"{past.tokens:,}" if past.tokens else ""),
        ("batch", f"{data.batch_size} sequences of {config.sequence_length} tokens"),
        ("optimiser", f"{optimiser.algorithm}, {rates}, {optimiser.schedule} schedule"),
        ("dropout", f"{config.model.dropout:g}"),
        ("seed", f"{config.run.seed}"),
        ("training time", clock(seconds) if seconds else ""),
        ("training time before", clock(past.seconds) if past.seconds else ""),
        ("weights from", f"step {best['step']:,}, the best on the dev split" if best else ""),
        ("their dev loss", f"{best['dev_loss']:.4f} nats a token" if best else ""),
    ]
    said = [
        "## Training",
        notes.data,
        notes.training,
        table(("", ""), [row for row in rows if row[1]]),
        _command(config),
        "All settings: `config.toml`.",
    ]
    return "\n\n".join(part for part in said if part)


def _command(config: TrainConfig) -> str:
    """What is typed to train it again."""
    if config.recipe not in RECIPES or not config.data.folder:
        return ""
    command = ["tinytale", "train", config.data.folder, *typed_again(config), "--out", "RUN"]
    return fenced(shlex.join(command), "sh")


def _scores(run: RunFolder) -> str:
    """Every result of the run: the scores, the measures of its stories, and what was found of them in train."""
    rows: list[tuple[str, ...]] = []
    found = ""
    for path in sorted(run.evaluation.glob("*.json")):
        for split, result in read_results(path).items():
            try:
                what = f"{code(result['data'])}, {escaped(split)}"
                rows += [_score(what, VIEWS[view], figures) for view, figures in result["views"].items()]
                if "quality" in result:
                    found += _beside(
                        quality_rows(result["quality"]),
                        f"Of {_told(result['quality'])}, and of real ones ({what}), with 95% intervals over stories;"
                        " where a prompt is named, both go on with the same openings of real stories",
                    )
                if rows_of_sense := sense_rows(result.get("quality", {})):
                    settings = result["quality"]["names"]["settings"]
                    found += _beside(
                        rows_of_sense,
                        f"Of the project's own English openings, gone on with for {settings['max_new_tokens']:d} tokens"
                        f" (temperature {settings['temperature']:g}, seed {settings['seed']:d}), and of sentences that"
                        " end before the one right word, with 95% intervals over names and over sentences",
                    )
                if "memorisation" in result:
                    found += _beside(
                        memorisation_rows(result["memorisation"]),
                        f"What the train split holds, word for word, of {_told(result['memorisation'])}, and of real"
                        f" stories that are not in it ({what})",
                    )
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise TaleError(f"{path} is damaged ({split}: {error!r}); delete it, and evaluate again") from error
    if not rows:
        return ""
    heading = ("stories", "read as", "loss", "perplexity", "bits per byte (95% interval)")
    said = f"Loss in nats a token, every token scored once.{_rounding(run)}"
    return f"## Scores\n\n{table(heading, rows)}\n\n{said}{found}"


def _score(what: str, view: str, figures: dict[str, Any]) -> tuple[str, ...]:
    bits = f"{figures['bits_per_byte']:.4f} ({ends_text(figures['interval_95'], '.4f')})"
    return (what, view, f"{figures['loss']:.4f}", perplexity_text(figures), bits)


def _told(part: dict[str, Any]) -> str:
    settings = part["settings"]
    return (
        f"{settings['stories']:d} stories that the model told by itself (temperature {settings['temperature']:g},"
        f" seed {settings['seed']:d})"
    )


def _beside(rows: Sequence[Sequence[str]], said: str) -> str:
    """A table of measures, whose first row is its heading; units and kinds come from files."""
    heading, *body = [[escaped(cell) for cell in row] for row in rows]
    return f"\n\n{said}:\n\n{table(heading, body)}"


def _rounding(run: RunFolder) -> str:
    if read_json(run.model / "config.json").get("dtype") == "float32":
        return ""
    return " Measured in float32, before the weights were rounded."


def _loading(config: TrainConfig, name: str, loaded_from: str) -> str:
    ours = "With tinytale:\n\n" + fenced(shlex.join(["tinytale", "generate", name]), "sh")
    address = json.dumps(loaded_from, ensure_ascii=False)
    if not is_gpt2(config.model):
        return f"## How to load it\n\nIt is not quite a GPT-2, so only tinytale loads it.\n\n{ours}"
    snippet = f"""\
from transformers import AutoTokenizer, GPT2LMHeadModel

model = GPT2LMHeadModel.from_pretrained({address}, dtype="float32")
tokenizer = AutoTokenizer.from_pretrained({address})
start = tokenizer("<|endoftext|>", return_tensors="pt")
story = model.generate(**start, do_sample=True, temperature={TEMPERATURE:g}, max_length={config.model.context_length})
print(tokenizer.decode(story[0], skip_special_tokens=True))"""
    return f"""## How to load it

{fenced(snippet, "python")}

`<|endoftext|>` opens and closes every story: put it before a prompt of your own too. It is the padding token too, so
a collator that leaves padding out of the loss leaves out the ends of stories. {ours}"""


def _limits(config: TrainConfig) -> str:
    return f"""## Limits

- It continues stories like those that it was trained on, in their language, and knows nothing else: no facts, no
  instructions, no conversation.
- It reads at most {config.model.context_length} tokens; of a longer story it forgets the beginning.
- It may repeat sentences of its training stories, and whatever bias they have.
- It was not made safe in any way; read what it writes before you show it to a child."""
