"""How well the model predicts stories that it has not seen, beside its cost and beside others."""

from tinytale.addons.report.paper.chapters.ablations import ablations
from tinytale.addons.report.paper.chapters.discussion import still_falling
from tinytale.addons.report.paper.chapters.peers import race, speed, telling
from tinytale.addons.report.paper.facts import Fact
from tinytale.addons.report.paper.figures import curves_figure
from tinytale.addons.report.paper.material import BASELINES, Material, Score
from tinytale.addons.report.paper.parts import Display, Figure, Paragraph, Part, Section, Table
from tinytale.addons.report.paper.text import Text, say
from tinytale.evaluation.results import VIEWS

OFTEN = 0.05
"""Share of the stories that must have a position for its loss to be spoken of."""


def results(material: Material) -> Section:
    """Everything about prediction; about the stories that it tells there is another chapter."""
    run = material.subject
    parts: list[Part] = []
    if run.score:
        parts += [*_perplexity(material, run.score), *_beside(material)]
    parts += _curves(material)
    if len(material.runs) > 1:
        parts.append(_side_by_side(material))
    if material.results.race:
        parts += race(material, material.results.race)
    parts += speed(material)
    parts += telling(material)
    if material.results.studies:
        parts += ablations(material, material.results.studies)
    return Section("Results", tuple(parts))


def interval(score: Score, *key: str, form: str) -> Text:
    """The two ends of a 95% interval."""
    if not score.has(*key, "interval_95"):
        return say("no interval")
    return say(
        "{low}–{high}",
        low=score.fact(*key, "interval_95", 0, form=form),  # pyright: ignore[reportArgumentType]
        high=score.fact(*key, "interval_95", 1, form=form),  # pyright: ignore[reportArgumentType]
    )


def perplexity_interval(score: Score, view: str) -> Text:
    """The interval of the perplexity: that of bits per byte, on the perplexity's own scale."""
    if not score.has("views", view, "interval_95"):
        return say("no interval")

    def at(end: int) -> Fact:
        keys = (("loss",), ("interval_95", end), ("bits_per_byte",))
        return score.source.derived("perplexity at", ".2f", *((score.split, "views", view, *key) for key in keys))

    return say("{low}–{high}", low=at(0), high=at(1))


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
        Paragraph(told + _where_the_loss_lies(score)),
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
        say("{n} (", n=score.fact(*key, "perplexity", form=".2f")) + perplexity_interval(score, view) + say(")"),
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


def _beside(material: Material) -> list[Part]:
    """Baselines, the runs, other models and published ones, in one table; nothing if there are only the runs."""
    split = material.shared_split
    scores = material.beside(split)
    models = material.published.get("models") if material.tinystories else []
    if not models and scores.keys() <= {run.name for run in material.runs}:
        return []
    rows = [(say("model"), say("loss"), say("bits per byte (95%)"))]
    for name, score in scores.items():
        view, bits = ("views", "stories"), score.fact("views", "stories", "bits_per_byte", form=".3f")
        loss = score.fact(*view, "loss", form=".3f")
        ends = say("{n} (", n=bits) + interval(score, *view, form=".3f") + say(")")
        rows.append((say("{name}", name=name), say("{n}", n=loss), ends))
    groups = (len(rows),) if models and scores else ()
    for place, model in enumerate(models):
        loss, size = ("models", place, "loss"), ("models", place, "bytes_per_token")
        rows.append(
            (
                say(f"{{name}} [{model['work']}]†", name=model["name"]),
                say("{n}", n=material.published.fact(*loss, form=".2f")),
                say("{n}", n=material.published.derived("bits per byte", ".2f", loss, size)),
            )
        )
    caption = say(f"Nats a token and bits per byte; ours on the same {split} stories, from their start.")
    if scores.keys() & BASELINES.keys():
        caption += say(
            " The baselines are counted on train, the longest with modified Kneser-Ney smoothing [chen1999]."
        )
    if models:
        caption += say(
            " †Published: other stories of the corpus and other tokens, the loss converted by the bytes a token has;"
            " for scale only."
        )
    return [Table("beside", caption, tuple(rows), groups=groups)]


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
        elif still_falling(material) is None:
            text += say(
                "Dev loss was level in the end: {best} at step {step}, {last} at the last.",
                step=run.metrics.fact(run.best_look, "step"),
                best=best,
                last=run.metrics.fact(last[0], "dev_loss", form=".3f"),
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
    before = " Left of the dotted line: the run whose weights it began with." if run.before else ""
    return [
        Paragraph(text, "Curves"),
        Figure(
            "curves",
            say(
                f"Loss against tokens seen: training steps (grey: each; line: their running mean) and dev, in"
                f" contiguous windows.{before}{several}"
            ),
            svg,
            "Two curves that fall and flatten: training loss and dev loss against tokens.",
        ),
    ]


def _side_by_side(material: Material) -> Part:
    rows = [(say("run"), say("weights"), say("tokens"), say("time"), say("split"), say("bits per byte (95%)"))]
    for run in material.runs:
        tokens, seconds, score = run.spent("tokens", "short"), run.spent("seconds", "clock"), run.score
        rows.append(
            (
                say("{name}", name=run.name),
                say("{n}", n=run.weights.fact("parameters", form="short")),
                say("{n}", n=tokens) if tokens else say("–"),
                say("{n}", n=seconds) if seconds else say("–"),
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
