"""What the results say for the model and against it, what would help, and how far the evidence goes."""

from tinytale.addons.report.paper.facts import Fact, Source, derive
from tinytale.addons.report.paper.material import Material
from tinytale.addons.report.paper.measures import Measured, measured
from tinytale.addons.report.paper.parts import Bullets, Paragraph, Part, Section
from tinytale.addons.report.paper.text import Text, join, say
from tinytale.model.folder import is_gpt2

AREAS = {
    "endings": "how they end",
    "repetition": "how little they repeat themselves",
    "diversity": "how much they differ from one another",
    "spelling": "spelling",
    "relevance": "how well they go on with a beginning",
    "memorisation": "originality",
}
"""The groups of measures, in the words of a verdict."""


TURNED = 0.005
"""Nats by which the last dev loss must be above the best before it says that the model learns train by heart."""

ENOUGH_STORIES = 100
"""With so many, a difference that is not seen says something."""


def discussion(material: Material) -> Section:
    """The chapter."""
    parts: list[Part] = []
    for heading, items in (
        ("Strengths", _strengths(material)),
        ("Weaknesses", _weaknesses(material)),
        ("What would improve it", _improvements(material)),
        ("Limits of the evidence", _limits(material)),
    ):
        if items:
            parts += [Paragraph((), heading), Bullets(tuple(items))]
    return Section("Discussion", tuple(parts))


def still_falling(material: Material) -> bool | None:
    """Whether the last look at dev was the best; None if that is not known, or the loss was level in the end."""
    run = material.subject
    if len(run.looks) < 2 or run.best_look is None:
        return None
    if run.best_look == run.looks[-1][0]:
        return True
    risen = run.metrics.get(run.looks[-1][0], "dev_loss") - run.metrics.get(run.best_look, "dev_loss")
    return None if risen < TURNED else False


def longer_stories(material: Material) -> Fact | None:
    """The share of train stories that are longer than the context."""
    context = str(material.subject.config.model.context_length)
    key = ("splits", "train", "longer_than", context, "share")
    return material.survey.fact(*key, form=".0%") if material.survey and material.survey.get(*key) else None


def _areas(material: Material, short: bool) -> Text:
    """What told stories are measured by, where some measure is worse than that of real ones, or where none is."""
    areas: dict[str, bool] = {}
    for one in measured(material.subject):
        if short or _told(one) >= ENOUGH_STORIES:  # of a few stories every interval is wide, and nothing is worse
            areas[one.measure.group] = areas.get(one.measure.group, False) or one.verdict == "worse"
    return join([say(AREAS[area]) for area, worse in areas.items() if worse == short], ", ", " and ")


def _told(one: Measured) -> int:
    return one.score.get(one.measure.told[0], "settings", "stories") or 0


def _strengths(material: Material) -> list[Text]:
    run, race = material.subject, material.results.race
    items = []
    if run.score:
        items.append(
            say(
                "It predicts: among {vocabulary} tokens it is as unsure as if {perplexity} were equally likely.",
                vocabulary=run.settings.fact("model", "vocab_size"),
                perplexity=run.score.fact("views", "stories", "perplexity", form=".2f"),
            )
        )
    good = _areas(material, short=False)
    if good:
        items.append(say("Beside real stories, told ones hold their own in {areas}.", areas=good))
    if race and race.get("participants", "tinytale", "times_less_time"):
        items.append(
            say(
                "It trains fast: {times} times less time to the same loss than nanoGPT, as it comes.",
                times=race.fact("participants", "tinytale", "times_less_time", form=".1f"),
            )
        )
    if is_gpt2(run.config.model):
        items.append(
            say("It is an ordinary GPT-2: its folder loads in Hugging Face's library as it is, with equal logits.")
        )
    return items


def _weaknesses(material: Material) -> list[Text]:
    run = material.subject
    items = []
    bad = _areas(material, short=True)
    if bad:
        items.append(say("Beside real stories, told ones fall short in {areas} ([tab:quality]).", areas=bad))
    if material.reading:
        marks = material.reading
        commonest = max(marks.get("kinds"), key=lambda kind: marks.get("told", "failing", kind))
        items.append(
            say(
                "Read closely, {flawless} of {read} were without fault, and {failing} {kind}.",
                flawless=marks.fact("told", "all", "flawless"),
                read=marks.fact("told", "all", "read"),
                failing=marks.fact("told", "failing", commonest),
                kind=str(marks.get("kinds", commonest, "short")),
            )
        )
    longer = longer_stories(material)
    if longer:
        items.append(
            say(
                "It sees {context} tokens; {share} of the train stories are longer, and of such a story it forgets the"
                " beginning.",
                context=run.settings.fact("model", "context_length"),
                share=longer,
            )
        )
    if still_falling(material) is False:
        items.append(say("It learned train by heart in the end: the dev loss had turned before the run was over."))
    items.append(
        say(
            "It continues stories like those that it was trained on, and knows nothing else. It was not made safe in"
            " any way."
        )
    )
    return items


def _improvements(material: Material) -> list[Text]:
    items: list[Text] = []
    match still_falling(material):
        case True:
            items.append(say("Train longer: the dev loss was falling to the end."))
        case False:
            items.append(say("More text, or dropout and weight decay, before more steps: the dev loss had turned."))
    if material.tinystories and material.survey:
        corpus = (material.published, ("corpus", "v2_bytes"))
        items.append(
            say(
                "Train on the whole corpus: V2 has {times} times the text of this sample.",
                times=derive("ratio", ".0f", corpus, (material.survey, ("splits", "train", "bytes"))),
            )
        )
    if longer_stories(material):
        items.append(say("A longer context, trained for longer, for the stories that do not fit."))
    return items


def _best_at_the_edge(race: Source) -> bool:
    """Whether nanoGPT might have done better still with a larger rate."""
    runs = [run for run in race.get("runs") if run["who"] == "nanogpt"]
    return min(runs, key=lambda run: run["loss"])["rate"] == max(run["rate"] for run in runs)


def _limits(material: Material) -> list[Text]:
    run, items = material.subject, []
    if len(material.runs) == 1:
        items.append(say("One run with one seed: intervals are over stories and say nothing about other seeds."))
    if material.tinystories:
        items.append(
            say(
                "The test stories were written by the models that wrote train, so scores say how well those are"
                " imitated."
            )
        )
    elif run.score:
        items.append(say("The test stories are of the same source as train: scores say nothing about other text."))
    if run.score_with("quality"):
        items.append(
            say(
                "The measures are of form (endings, repeats, names, copied words). Whether a plot makes sense they do"
                " not see: read the samples."
            )
        )
    else:
        items.append(say("Coherence and relevance have not been measured: `tinytale evaluate --suite full`."))
    if not run.score_with("judge") and not (material.reading and material.reading.get("told", "grades")):
        items.append(say("Nobody has graded plot and consistency: people, or a judge (`evaluate --judge`), could."))
    if run.score and run.rounded:
        items.append(say("Scores are of float32 weights, before they were rounded for shipping."))
    if material.results.race:
        edge = " The largest rate that was tried was its best." if _best_at_the_edge(material.results.race) else ""
        items.append(
            say(
                "The race is of one small model, with few seeds and on one machine; nanoGPT's rate was swept, its code"
                f" left as it is.{edge}"
            )
        )
    if material.results.studies and any(
        len({one["seed"] for one in study.get("runs")}) < 2 for study in material.results.studies
    ):
        items.append(say("Ablations with one seed show large differences only."))
    return items
