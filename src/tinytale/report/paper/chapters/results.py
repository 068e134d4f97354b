"""How well the model predicts stories that it has not seen, beside its cost and beside others."""

from itertools import groupby

from tinytale.evaluation.results import VIEWS
from tinytale.report.paper.facts import Fact, Source
from tinytale.report.paper.figures import curves_figure, race_panels, studies_figure
from tinytale.report.paper.material import Material, Score
from tinytale.report.paper.parts import Display, Figure, Paragraph, Part, Section, Table
from tinytale.report.paper.text import Text, join, say

BENCHES = ("S", "124M")
OFTEN = 0.05
"""Share of the stories that must have a position for its loss to be spoken of."""
CONTENDERS = {
    "nanogpt": "nanoGPT, as it comes",
    "nanogpt-best": "nanoGPT, at its best",
    "transformers": "Hugging Face, as it comes",
    "transformers-best": "Hugging Face, at its best",
    "tinytale-native": "tinytale, AdamW",
    "tinytale": "tinytale, Muon",
}


def results(material: Material) -> Section:
    """Everything about prediction; about the stories that it tells there is another chapter."""
    run = material.subject
    parts: list[Part] = []
    if run.score:
        parts += _perplexity(material, run.score)
    parts += _curves(material)
    if len(material.runs) > 1:
        parts.append(_side_by_side(material))
    if material.results.race:
        parts += _race(material, material.results.race)
    parts += _speed(material)
    if material.results.studies:
        parts += _studies(material, material.results.studies)
    return Section("Results", tuple(parts))


def interval(score: Score, *key: str, form: str) -> Text:
    """The two ends of a 95% interval."""
    return say(
        "{low}–{high}",
        low=score.fact(*key, "interval_95", 0, form=form),  # pyright: ignore[reportArgumentType]
        high=score.fact(*key, "interval_95", 1, form=form),  # pyright: ignore[reportArgumentType]
    )


def perplexity_at(score: Score, view: str, end: int) -> Fact:
    """An end of the perplexity's interval: that of bits per byte, on the perplexity's own scale."""
    keys = (("loss",), ("interval_95", end), ("bits_per_byte",))
    return score.source.derived("perplexity at", ".2f", *((score.split, "views", view, *key) for key in keys))


def _perplexity(material: Material, score: Score) -> list[Part]:
    text = say(
        "For stories $i$ with $n_i$ nats ($-ln P$ of their tokens and of the closing end of text) and $b_i$ bytes, $N$"
        " tokens in all:"
    )
    told = say(
        "Perplexity depends on the tokenizer, bits per byte does not. Every token is scored once, pads never. _From"
        " its start_ reads each story as a reader meets it; _windows_ cut the stream every $T$ tokens, as most"
        " published losses do. The 95% intervals treat stories as a sample and the score as a ratio of two sums"
        " [cochran1977]. A model that knows nothing has perplexity $V$, {vocabulary}.",
        vocabulary=material.subject.settings.fact("model", "vocab_size"),
    )
    rows = [(say("stories"), say("read"), say("loss"), say("perplexity (95%)"), say("bits per byte (95%)"))]
    groups = []
    for one in material.subject.scores:
        groups.append(len(rows))
        rows += [_score_row(one, view) for view in VIEWS if one.has("views", view)]
    name = score.get("data")
    parts: list[Part] = [
        Paragraph(text, "Perplexity and bits per byte"),
        Display('"loss" = (sum_i n_i) / N, quad "perplexity" = e^"loss",'),
        Display('"bits per byte" = (sum_i n_i) / (ln 2 thin sum_i b_i).'),
        Paragraph(told + _where_the_loss_lies(score) + _others(material, score)),
        Table(
            "scores",
            say("Prediction of the stories of `{name}`. Loss in nats a token.", name=str(name).rsplit("/", 1)[-1]),
            tuple(rows),
            "page",
            "llrrr",
            tuple(groups[1:]),
        ),
    ]
    return parts


def _score_row(score: Score, view: str) -> tuple[Text, ...]:
    key = ("views", view)
    name = "all" if score.split == "all" else score.split
    return (
        say("{split}, {n}", split=name, n=score.fact("stories", form=",")) if view == "stories" else say(""),
        say("from their start" if view == "stories" else "windows"),
        say("{n}", n=score.fact(*key, "loss", form=".3f")),
        say(
            "{n} ({low}–{high})",
            n=score.fact(*key, "perplexity", form=".2f"),
            low=perplexity_at(score, view, 0),
            high=perplexity_at(score, view, 1),
        ),
        say("{n} (", n=score.fact(*key, "bits_per_byte", form=".4f")) + interval(score, *key, form=".4f") + say(")"),
    )


def _where_the_loss_lies(score: Score) -> Text:
    """The positions that cost most and least, of those that enough stories have."""
    ranges = score.get("profile", "by_position") or {}
    often = [name for name, part in ranges.items() if part["stories"] >= OFTEN * score.get("stories") and part["loss"]]
    if len(often) < 3:
        return ()

    def loss(name: str) -> Fact:
        return score.fact("profile", "by_position", name, "loss", "value", form=".2f")

    highest, lowest = (choose(often, key=lambda name: loss(name).value) for choose in (max, min))
    return say(
        " By position in the story, tokens cost most at {highest} ({most} nats) and least at {lowest} ({least}).",
        highest=highest.replace("-", "–"),
        most=loss(highest),
        lowest=lowest.replace("-", "–"),
        least=loss(lowest),
    )


def _others(material: Material, score: Score) -> Text:
    """A published model on the same kind of stories, for scale."""
    if not material.tinystories:
        return ()
    paper = material.published
    return say(
        " For scale: a model of {layers} layers and width {width} in [eldan2023], trained on the whole corpus, has"
        " about {bits} bits per byte on v1.",
        layers=paper.fact("paper", "layers"),
        width=paper.fact("paper", "width"),
        bits=paper.fact("paper", "bits_per_byte", form=".2f"),
    )


def _curves(material: Material) -> list[Part]:
    run = material.subject
    svg = material.drawn("curves", lambda: curves_figure(material))
    if svg is None:
        return []
    text = say("[fig:curves] shows the course of training. ")
    first, last = run.looks[0], run.looks[-1]
    if len(run.looks) > 1 and run.best_look is not None:
        best = run.metrics.fact(run.best_look, "dev_loss", form=".3f")
        if run.best_look == last[0]:
            before = run.metrics.fact(run.looks[-2][0], "dev_loss", form=".3f")
            text += say(
                "Dev loss fell to the end, from {before} at the last look but one to {best}: the run was stopped by"
                " its budget, not by overfitting.",
                before=before,
                best=best,
            )
        else:
            text += say(
                "Dev loss turned at step {step}, at {best}; in the end it was {last}. From there on the model learned"
                " train by heart.",
                step=run.metrics.fact(run.best_look, "step"),
                best=best,
                last=run.metrics.fact(last[0], "dev_loss", form=".3f"),
            )
    elif first:
        text += say("Dev loss ended at {last}.", last=run.metrics.fact(last[0], "dev_loss", form=".3f"))
    several = " The other runs are dashed." if len(material.runs) > 1 else ""
    return [
        Paragraph(text, "Curves"),
        Figure(
            "curves",
            say(
                f"Loss against tokens seen: training steps (grey: each; line: their running mean) and dev, in"
                f" contiguous windows.{several}"
            ),
            svg,
            "Two curves that fall and flatten: training loss and dev loss against tokens.",
        ),
    ]


def _side_by_side(material: Material) -> Part:
    rows = [(say("run"), say("weights"), say("tokens"), say("time"), say("split"), say("bits per byte (95%)"))]
    for run in material.runs:
        tokens, seconds, score = run.last("tokens"), run.last("seconds"), run.score
        rows.append(
            (
                say("{name}", name=run.name),
                say("{n}", n=run.weights.fact("parameters", form="short")),
                say("{n}", n=run.metrics.fact(*tokens, form="short")) if tokens else say("–"),
                say("{n}", n=run.metrics.fact(*seconds, form="clock")) if seconds else say("–"),
                say("{name}", name=score.split) if score else say("–"),
                say("{n} (", n=score.fact("views", "stories", "bits_per_byte", form=".4f"))
                + interval(score, "views", "stories", form=".4f")
                + say(")")
                if score
                else say("not scored"),
            )
        )
    digests = {run.score.get("digest") for run in material.runs if run.score}
    remark = (
        say("") if len(digests) < 2 else say(" They were scored on different stories, so the scores do not compare.")
    )
    return Table(
        "runs", say("The runs side by side; stories from their start.") + remark, tuple(rows), "page", "lrrrlr"
    )


def _race(material: Material, race: Source) -> list[Part]:
    ours, theirs = ("participants", "tinytale"), ("participants", "nanogpt")
    text = say(
        "How soon does a model of {weights} blocks of width {width} reach the best dev loss that nanoGPT [nanogpt]"
        " reaches in {budget} tokens, {target} nats, its rate swept?",
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


def _speed(material: Material) -> list[Part]:
    benches = {name: bench for name in BENCHES if (bench := material.results.bench(name))}
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


def _speed_cell(bench: Source, who: str) -> Text:
    if not bench.get("contenders", who):
        return say("–")
    return say(
        "{speed} ({ratio})",
        speed=bench.fact("contenders", who, "tokens_per_second", form=",.0f"),
        ratio=bench.fact("contenders", who, "ratio", form=".2f"),
    )


def _studies(material: Material, studies: list[Source]) -> list[Part]:
    studies = sorted(studies, key=lambda study: (-len(study.get("runs")), study.name))
    texts = [text for study in studies if (text := _study(study))]
    seeds = say(" Where there are several seeds, the score is their mean.")
    return [
        Paragraph(
            say("One change at a time, scored on dev stories from their start ([fig:studies]). ") + join(texts) + seeds,
            "Ablations",
        ),
        Figure(
            "studies",
            say("Ablations: bits per byte on dev, a dot a run with its 95% interval; each panel has one question."),
            material.drawn("studies", lambda: studies_figure({study.path.stem: study.content for study in studies}))
            or b"",
            "Panels of dots, one row a variation.",
            "page" if len(studies) > 1 else "column",
        ),
    ]


def _study(study: Source) -> Text:
    """The question, and the variations with the lowest and the highest score."""
    means = []
    for name, group in groupby(enumerate(study.get("runs") or []), key=lambda pair: pair[1]["variation"]):
        places = [place for place, _ in group]
        keys = [("runs", place, "dev", "views", "stories", "bits_per_byte") for place in places]
        means.append((name, study.derived("mean", ".3f", *keys)))
    if len(means) < 2:
        return ()
    means.sort(key=lambda pair: pair[1].value)
    (best, low), (worst, high) = means[0], means[-1]
    return say(
        "*{name}:* _{question}_ – best: `{best}` ({settings}{low}); worst: `{worst}` ({high}).",
        name=study.path.stem,
        question=str(study.get("question")),
        best=best,
        settings=_own_settings(study, best),
        low=low,
        worst=worst,
        high=high,
    )


def _own_settings(study: Source, variation: str) -> Text:
    """What a variation sets that not all variations set alike."""
    runs = study.get("runs")
    place = next(place for place, run in enumerate(runs) if run["variation"] == variation)
    texts: list[Text] = []
    for section, values in (runs[place].get("settings") or {}).items():
        for name, value in values.items():
            if all((run["settings"].get(section) or {}).get(name) == value for run in runs):
                continue
            key = ("runs", place, "settings", section, name)
            shown = study.fact(*key, form="g") if type(value) in (int, float) else str(value)
            texts.append(say("{name} {value}; ", name=name.replace("_", " "), value=shown))
    return join(texts, "")
