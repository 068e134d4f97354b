"""The table of results in README.md, from the files that the benches and the evaluation wrote.

`python3 tools/front_page.py README.md` writes it between its two marks.
"""

import sys
from pathlib import Path
from typing import Any

from tinytale.addons.report.paper.material import BASELINES, Material, Results, RunMaterial
from tinytale.evaluation.intervals import ends_text
from tinytale.files import read_json

BEGIN, END = "<!-- results: python3 tools/front_page.py README.md -->", "<!-- end of results -->"
TELLERS = {
    "tinytale": ("tinytale",),
    "transformers": ("transformers", "transformers-bfloat16"),
    "CTranslate2": ("ctranslate2-float32", "ctranslate2-int8"),
    "llama.cpp": ("llama-cpp",),
}
"""Each in the number formats that it was measured in; the fastest counts."""


def results_table(root: Path) -> str:
    """The table in Markdown, from `docs/results` and `weights/small` of the repository at `root`."""
    rows = [
        ("", "tinytale", "nanoGPT", "transformers", "CTranslate2", "llama.cpp", "measured by"),
        ("---", "--:", "--:", "--:", "--:", "--:", "---"),
        *_training(root / "docs/results"),
        *_telling(root / "docs/results", "generate/M.json", "size M"),
        *_telling(root / "docs/results", "generate/small.json", "`small`"),
        *_telling(root / "docs/results", "generate/M-avx2.json", "size M, no AMX"),
        *_telling(root / "docs/results", "generate/small-avx2.json", "`small`, no AMX"),
    ]
    material = Material((RunMaterial.read(root / "weights/small", "small"),), Results(root / "docs/results"))
    beside = beside_table(material, material.shared_split, root)
    return "\n\n".join((_markdown(rows), _quality(root / "weights/small"), beside))


def beside_table(material: Material, split: str, root: Path) -> str:
    """Baselines and models on one split of the dataset, and published models, in Markdown."""
    scores = material.beside(split)
    stories = next(iter(scores.values())).get("stories")
    rows = [
        (f"{stories:,} stories of {split}", "loss", "bits per byte (95%)", "from"),
        ("---", "--:", "--:", "---"),
    ]
    for name, score in scores.items():
        view, verb = score.get("views", "stories"), "bench baselines" if name in BASELINES else "evaluate"
        ends = ends_text(view["interval_95"], ".3f", " to ")
        link = f"[`{verb}`]({score.source.path.relative_to(root).as_posix()})"
        rows.append((name, f"{view['loss']:.3f}", f"{view['bits_per_byte']:.3f} ({ends})", link))
    for place, model in enumerate(material.published.get("models")):
        keys = (("models", place, key) for key in ("loss", "bytes_per_token"))
        bits = material.published.derived("bits per byte", ".2f", *keys).shown
        rows.append(
            (f"_published_: {model['name']}", f"_{model['loss']:.2f}_", f"_{bits}_", f"[there]({model['page']})")
        )
    return _markdown(rows) + (
        "\n\nLoss in nats a token, each story from its start. _Published_ losses are of other stories of the corpus and"
        " of other tokens; they become bits per byte as loss / (ln 2 × the bytes that a token has there on average),"
        " and are there for scale only.\n"
    )


def _markdown(rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _training(results: Path) -> list[tuple[str, ...]]:
    step = read_json(results / "bench/S.json")["contenders"]
    speeds = [step[name]["tokens_per_second"] for name in ("tinytale-native", "nanogpt-best", "transformers-best")]
    race = read_json(results / "race/summary.json")["participants"]
    ours, theirs = race["tinytale"], race["nanogpt"]
    by_race = "[a race of November](docs/results/race/summary.json)"
    return [
        (
            "training, tokens/s, AdamW for all",
            *(f"{speed:,.0f}" for speed in speeds),
            "",
            "",
            _measured("bench train", "bench/S.json"),
        ),
        (
            "tokens until nanoGPT's best loss",
            *(f"{who['tokens_to_target'] / 1e6:.2f} M" for who in (ours, theirs)),
            *("", "", ""),
            by_race,
        ),
        ("seconds until then", *(f"{who['seconds_to_target']:,.0f}" for who in (ours, theirs)), *("", "", ""), by_race),
    ]


def _telling(results: Path, file: str, who: str) -> list[tuple[str, ...]]:
    parts = read_json(results / file)["parts"]
    one_core = {part["prompts"]: part["contenders"] for part in parts if part["threads"] == 1}
    rows = []
    for prompts, what in ((1, "telling one story"), (32, "telling 32 at once")):
        at = one_core[prompts]
        speeds = [[at[name]["tokens_per_second"] for name in names if name in at] for names in TELLERS.values()]
        ours, *others = (f"{max(speed):,.0f}" if speed else "" for speed in speeds)
        rows.append((f"{what}, tokens/s: {who}", ours, "", *others, _measured("bench generate", file)))
    return rows


def _measured(verb: str, file: str) -> str:
    return f"[`{verb}`](docs/results/{file})"


def _quality(weights: Path) -> str:
    (file,) = (weights / "evaluation").glob("*.json")
    test: dict[str, Any] = read_json(file)["test"]
    view = test["views"]["stories"]
    return (
        f"`weights/small` reads the {test['stories']:,} stories of TinyStories' test split at"
        f" **{view['bits_per_byte']:.3f} bits per byte** ({ends_text(view['interval_95'], '.3f', ' to ')}),"
        " a perplexity of"
        f" {view['perplexity']:.2f}: [`evaluate small`](weights/small/evaluation/{file.name})."
    )


def with_results(page: str, table: str) -> str:
    """The page with the table between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    page = with_results(path.read_text(encoding="utf-8"), results_table(path.resolve().parent))
    path.write_text(page, encoding="utf-8")
