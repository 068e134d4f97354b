"""Where does the copying of a rare name fail? The probability of each of its tokens, and the heads that look at it.

    python docs/copying.py FOLDER

Each opening of the suite is followed by " One day," and by its hero's name. Letters of shapes: L layers, H heads.
"""

import sys
from collections import defaultdict

import torch

from tinytale.addons.inspection.look import Look, look
from tinytale.addons.quality.sense import Opening, read_openings
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.model.folder import load_model
from tinytale.model.gpt2 import GPT2
from tinytale.runs import find_folder, model_folder


def read(model: GPT2, tokenizer: Tokenizer, opening: Opening) -> tuple[list[int], list[int], Look]:
    """The tokens up to the name, those of the name, and what the model computes over both."""
    context = [tokenizer.end_of_text, *tokenizer.encode(f"{opening.text} One day,")]
    name = tokenizer.encode(f" {opening.name}")
    return context, name, look(model, context + name)


def main() -> None:
    """Print both for rare and for common names."""
    folder = model_folder(find_folder(sys.argv[1]))
    model, tokenizer = load_model(folder, "textbook"), load_tokenizer(folder)
    for naming, openings in read_openings()[1].items():
        chances: dict[int, list[list[float]]] = defaultdict(list)
        first_LH, later_LH = [], []
        for opening in openings:
            context, name, found = read(model, tokenizer, opening)
            chances[len(name)].append(torch.exp2(-found.surprise()[-len(name) :]).tolist())
            places = [at for at in range(len(context)) if context[at : at + len(name)] == name]
            if places and len(name) > 1:
                before, now, weights_LHTS = places[-1], len(context) - 1, found.attention_LHTS
                first_LH.append(weights_LHTS[:, :, now, before])
                later = [weights_LHTS[:, :, now + number, before + number] for number in range(1, len(name))]
                later_LH.append(torch.stack(later).mean(0))
        for tokens, several in sorted(chances.items()):
            means = " ".join(f"{value:.3f}" for value in torch.tensor(several).mean(0).tolist())
            print(f"{naming}, {tokens} tokens, {len(several)} openings: {means}")
        for what, found_LH in (("first token", first_LH), ("next token", later_LH)):
            if found_LH:
                mean_LH = torch.stack(found_LH).mean(0)
                best = mean_LH.flatten().topk(3)
                heads = [divmod(int(place), mean_LH.shape[1]) for place in best.indices]
                told = (
                    f"{at + 1}.{head + 1}: {float(w):.2f}" for (at, head), w in zip(heads, best.values, strict=True)
                )
                print(f"  {len(found_LH)} openings, attention to the {what} of the name: {', '.join(told)}")


if __name__ == "__main__":
    main()
