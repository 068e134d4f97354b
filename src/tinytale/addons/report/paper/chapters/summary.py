"""Title and summary: what a reader takes away who reads no further."""

from tinytale.addons.report.paper.chapters.results import interval, perplexity_interval
from tinytale.addons.report.paper.material import Material
from tinytale.addons.report.paper.text import Text, say


def title(material: Material) -> str:
    """What the report is about."""
    on = " on TinyStories" if material.tinystories else f" on {material.subject.dataset}"
    return f"{material.subject.name}: a GPT-2 from scratch{on}"


def summary(material: Material) -> Text:
    """The model, its score, its race, and its stories, as far as the files know them."""
    run = material.subject
    text = say(
        "A GPT-2 of {weights} weights ({layers} blocks of width {width}), written from scratch and trained",
        weights=run.weights.fact("parameters", form="short"),
        layers=run.settings.fact("model", "layers"),
        width=run.settings.fact("model", "width"),
    )
    if run.config.run.start_from and not run.before:
        text += say(", beginning with the weights of `{name}`,", name=run.config.run.start_from)
    tokens, seconds = run.spent("tokens", "short"), run.spent("seconds", "clock")
    if tokens and seconds:
        text += say(" on {tokens} tokens in {time}", tokens=tokens, time=seconds)
    score = run.score
    if score is None:
        return text + say(". It has not been scored on unseen stories yet.")
    text += (
        say(
            ", predicts {stories} unseen stories ({split}) with a perplexity of *{perplexity}* (",
            stories=score.fact("stories", form=","),
            split=score.split,
            perplexity=score.fact("views", "stories", "perplexity", form=".2f"),
        )
        + perplexity_interval(score, "stories")
        + say("), *{bits}* bits per byte (", bits=score.fact("views", "stories", "bits_per_byte", form=".3f"))
        + interval(score, "views", "stories", form=".3f")
        + say(").")
    )
    race = material.results.race
    if race and race.get("participants", "tinytale", "times_less_time"):
        text += say(
            " The same code and optimiser reach nanoGPT's best loss on a small model with {tokens} times fewer tokens,"
            " in {time} times less time than nanoGPT takes as it comes (float32, eager).",
            tokens=race.fact("participants", "tinytale", "times_fewer_tokens", form=".1f"),
            time=race.fact("participants", "tinytale", "times_less_time", form=".1f"),
        )
    quality = run.score_with("quality")
    ended = ("quality", "stories", "endings", "samples", "ended", "value")
    if quality and quality.has(*ended):
        text += say(
            " Of the stories that it tells, {share} come to their end by themselves.",
            share=quality.fact(*ended, form=".0%"),
        )
    copied = run.score_with("memorisation")
    if copied and copied.get("memorisation", "samples", "whole_stories") == 0:
        text += say(
            " None of {n} stories that it told stands in its training text as a whole.",
            n=copied.fact("memorisation", "settings", "stories"),
        )
    return text + say(
        " Every number here was read from a file of the run or of the results; the document carries a list of them."
    )
