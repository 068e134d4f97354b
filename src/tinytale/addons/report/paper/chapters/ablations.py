"""What one change at a time does: the studies."""

from itertools import groupby

from tinytale.addons.report.paper.facts import Source
from tinytale.addons.report.paper.figures import studies_figure
from tinytale.addons.report.paper.material import Material
from tinytale.addons.report.paper.parts import Figure, Paragraph, Part
from tinytale.addons.report.paper.text import Text, join, say
from tinytale.evaluation.intervals import overlap


def ablations(material: Material, studies: list[Source]) -> list[Part]:
    """Every study in a sentence, and one drawing of them all."""
    studies = sorted(studies, key=lambda study: (-len(study.get("runs")), study.name))
    texts = [text for study in studies if (text := _study(study))]
    seeds = say(" Where there are several seeds, the score is their mean.")
    return [
        Paragraph(
            say("Variations of one recipe, scored on dev stories from their start ([fig:studies]). ")
            + join(texts)
            + seeds,
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
        "*{name}:* _{question}_ – best: `{best}` ({settings}{low}); worst: `{worst}` ({high}){overlap}.",
        name=study.path.stem,
        question=str(study.get("question")),
        best=best,
        settings=_own_settings(study, best),
        low=low,
        worst=worst,
        high=high,
        overlap="; their intervals overlap" if _overlap(study, best, worst) else "",
    )


def _overlap(study: Source, *variations: str) -> bool:
    """Whether two variations of one run each are within each other's interval."""
    ends = []
    for variation in variations:
        runs = [run for run in study.get("runs") if run["variation"] == variation]
        ends.append(runs[0]["dev"]["views"]["stories"].get("interval_95") if len(runs) == 1 else None)
    return None not in ends and overlap(*ends)


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
