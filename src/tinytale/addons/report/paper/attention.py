"""Where some heads look, while the model reads the beginning of its own first sample."""

import numpy as np
from jaxtyping import Float

from tinytale.addons.inspection.look import look
from tinytale.addons.inspection.page_data import token_text
from tinytale.addons.inspection.table import visible
from tinytale.addons.report.paper.figures import attention_figure
from tinytale.addons.report.paper.material import RunMaterial
from tinytale.data.tokenizer import load_tokenizer
from tinytale.model.folder import load_model

TOKENS = 18
"""That are read, the opening end of text among them."""


def attention_drawing(run: RunMaterial) -> bytes | None:
    """Three heads over one text; None if the sample is too short to see anything."""
    stories = run.samples.get("stories") if run.samples else None
    if not stories:
        return None
    tokenizer = load_tokenizer(run.run.model)
    tokens = [tokenizer.end_of_text, *tokenizer.encode(stories[0])][: min(TOKENS, run.config.model.context_length)]
    if len(tokens) < 4:
        return None
    seen = look(load_model(run.run.model, kernels="textbook"), tokens)
    weights_LHTT = seen.attention_LHTS.numpy().round(2)
    heads = [
        (f"{place}: block {layer + 1}, head {head + 1}", weights_LHTT[layer, head])
        for place, (layer, head) in telling_heads(weights_LHTT).items()
    ]
    texts = [token_text(tokenizer, token) for token in tokens]
    return attention_figure(
        heads,
        [
            "start" if token == tokenizer.end_of_text else visible(text)
            for token, text in zip(tokens, texts, strict=True)
        ],
    )


def telling_heads(weights_LHTT: Float[np.ndarray, "L H T T"]) -> dict[str, tuple[int, int]]:
    """The heads that take most from the token before, from the first one, and from all between."""
    before_LH = np.diagonal(weights_LHTT, offset=-1, axis1=2, axis2=3)[..., 1:].mean(-1)
    first_LH = weights_LHTT[:, :, 2:, 0].mean(-1)
    between_LH = np.tril(weights_LHTT[:, :, :, 1:], -3).sum((2, 3))
    shares = {"token before": before_LH, "beginning": first_LH, "between": between_LH}
    found: dict[str, tuple[int, int]] = {}
    for name, share_LH in shares.items():
        layer, head = np.unravel_index(int(share_LH.argmax()), share_LH.shape)
        found[name] = (int(layer), int(head))
    return found
