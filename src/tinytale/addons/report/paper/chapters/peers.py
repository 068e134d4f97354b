"""Ours beside other programs: the race to a loss, the speed of a step, and that of telling."""

from tinytale.addons.report.paper.facts import Source
from tinytale.addons.report.paper.figures import race_panels
from tinytale.addons.report.paper.material import Material
from tinytale.addons.report.paper.parts import Figure, Paragraph, Part, Table
from tinytale.addons.report.paper.text import Text, join, say

TELLERS = {"transformers": "transformers", "ctranslate2-int8": "CTranslate2", "llama-cpp": "llama.cpp"}
CONTENDERS = {
    "nanogpt": "nanoGPT, as it comes",
    "nanogpt-best": "nanoGPT, at its best",
    "transformers": "Hugging Face, as it comes",
    "transformers-best": "Hugging Face, at its best",
    "tinytale-native": "tinytale, AdamW",
    "tinytale": "tinytale, Muon",
}


def race(material: Material, race: Source) -> list[Part]:
    """Tokens and seconds to the best loss of nanoGPT."""
    ours, theirs = ("participants", "tinytale"), ("participants", "nanogpt")
    text = say(
        "How soon does a model of {weights} blocks of width {width} reach the best dev loss that nanoGPT [nanogpt]"
        " reaches in {budget} tokens, {target} nats, its rate swept and its code as it comes (float32, eager)?",
        weights=race.fact("course", "size", "layers"),
        width=race.fact("course", "size", "width"),
        budget=race.fact(*theirs, "tokens_to_target", form="short"),
        target=race.fact("target_loss", form=".3f"),
    )
    if race.get(*ours, "tokens_to_target"):
        text += say(
            " Ours, by its slower seed, needs {tokens} tokens: *{fewer} times fewer*",
            tokens=race.fact(*ours, "tokens_to_target", form="short"),
            fewer=race.fact(*ours, "times_fewer_tokens", form=".2f"),
        )
        if race.get(*ours, "times_less_time"):
            text += say(
                ", in {own} s instead of {other} s of training steps: *{less} times less time*",
                own=race.fact(*ours, "seconds_to_target", form=".0f"),
                other=race.fact(*theirs, "seconds_to_target", form=".0f"),
                less=race.fact(*ours, "times_less_time", form=".2f"),
            )
        text += say(" ([fig:race]). Compiling is not in these seconds.")
    else:
        text += say(" Ours did not reach it ([fig:race]).")
    control = race.get("participants", "control")
    if control is not None and control.get("tokens_to_target") is None:
        places = [place for place, one in enumerate(race.get("runs")) if one["who"] == "control"]
        longest = max(places, key=lambda place: race.get("runs", place, "tokens"))
        text += say(
            " AdamW for all weights in our own loop, the control, has not reached it within {tokens} tokens, so most"
            " of the gain is Muon's.",
            tokens=race.fact("runs", longest, "tokens", form="short"),
        )
    return [
        Paragraph(text, "The race"),
        Figure(
            "race",
            say("Dev loss against tokens: nanoGPT, our loop with AdamW, and with Muon. Dashed: nanoGPT's best."),
            material.drawn("race", lambda: race_panels(race.content)) or b"",
            "Curves of three programs; tinytale's falls fastest.",
        ),
    ]


def speed(material: Material) -> list[Part]:
    """Training steps beside those of nanoGPT and Hugging Face, where they were timed."""
    benches = material.results.benches
    if not benches:
        return []
    rows = [(say("tokens a second (× nanoGPT)"), *(say("{name}", name=name) for name in benches))]
    for who, name in CONTENDERS.items():
        if any(bench.get("contenders", who) for bench in benches.values()):
            rows.append((say(name), *(_speed_cell(bench, who) for bench in benches.values())))
    sizes = [
        say(
            "{name} is {layers} blocks of width {width}, context {context}",
            name=name,
            layers=bench.fact("size", "layers"),
            width=bench.fact("size", "width"),
            context=bench.fact("size", "context_length"),
        )
        for name, bench in benches.items()
    ]
    first = next(iter(benches.values()))
    caption = (
        say(
            "Speed of training steps on {cores} cores, the same weights and batches, in turn. ",
            cores=first.fact("threads"),
        )
        + join(sizes, "; ")
        + say(". _At its best_: bfloat16, compiled.")
    )
    return [Table("speed", caption, tuple(rows))]


def telling(material: Material) -> list[Part]:
    """How fast stories are told on one core, beside other programs."""
    tellings = material.results.tellings
    if not tellings:
        return []
    text = say(
        "With {layers} blocks of width {width}, our decoder's weights in eight bits, on one core: ",
        layers=tellings[0].fact("model", "layers"),
        width=tellings[0].fact("model", "width"),
    )
    return [Paragraph(text + join([_telling_on(bench) for bench in tellings], "; ") + say("."), "Telling")]


def _telling_on(bench: Source) -> Text:
    """One processor: tokens a second for each number of prompts, and how many times as many as others tell."""
    texts = []
    for place, part in enumerate(bench.get("parts")):
        if part["threads"] != 1:
            continue
        key = ("parts", place, "contenders")
        ours = (*key, "tinytale", "tokens_per_second")
        others = [
            say(
                "{times} × {name}",
                times=bench.derived("ratio", ".1f", ours, (*key, who, "tokens_per_second")),
                name=name,
            )
            for who, name in TELLERS.items()
            if who in part["contenders"]
        ]
        texts.append(
            say(
                "{prompts} {stories} at {speed} tokens a second ({others})",
                prompts=bench.fact("parts", place, "prompts"),
                stories="story" if part["prompts"] == 1 else "stories at once",
                speed=bench.fact(*ours, form=",.0f"),
                others=join(others, ", "),
            )
        )
    processor = "with AMX" if "amx_int8" in bench.get("machine", "flags") else "without AMX"
    return say("{processor}, ", processor=processor) + join(texts, ", ")


def _speed_cell(bench: Source, who: str) -> Text:
    if not bench.get("contenders", who):
        return say("–")
    return say(
        "{speed} ({ratio})",
        speed=bench.fact("contenders", who, "tokens_per_second", form=",.0f"),
        ratio=bench.fact("contenders", who, "ratio", form=".2f"),
    )
