"""A teacher: a finished model whose predictions training follows, as well as the text (knowledge distillation)."""

from dataclasses import replace
from pathlib import Path

import torch

from tinytale.config import RunConfig, TrainConfig
from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import UsageError
from tinytale.model.gpt2 import GPT2
from tinytale.model.weight_files import weights_digest
from tinytale.runs import RunFolder
from tinytale.training.start import checked_folder, unchanged_model


def settle_teacher(
    settings: TrainConfig, folder: RunFolder, begun: TrainConfig | None, tokenizer: Tokenizer
) -> TrainConfig:
    """The settings with the digest of the teacher's weights; without `run.teacher` an old one is taken out.

    Args:
        settings: what to train, its shape settled.
        folder: of the run.
        begun: the settings of the run that goes on, once it has a checkpoint: it keeps the teacher that it has.
        tokenizer: the dataset's.

    Raises:
        UsageError: there is no such folder, or it is the run's own; its tokens are not the dataset's; it cannot look at
            a whole training sequence; or there is no teacher, but a weight for one.
        TaleError: a file of the folder is damaged.
    """
    name = settings.run.teacher
    if not name:
        if settings.run.teacher_weight != RunConfig.teacher_weight:
            raise UsageError(
                f"RunConfig.teacher_weight is {settings.run.teacher_weight}, but there is no teacher; name one with"
                " --run.teacher, or leave the weight out"
            )
        return replace(settings, run=replace(settings.run, teacher_digest=""))
    if Path(name).resolve() in (folder.path.resolve(), folder.model.resolve()):
        raise UsageError(f"run.teacher: {name} is the run itself; expected another run or model folder")
    found, shape = checked_folder("run.teacher", name, tokenizer)
    if shape.context_length < settings.sequence_length:
        raise UsageError(
            f"run.teacher: {name} has {shape.context_length} positions, but training sequences have"
            f" {settings.sequence_length} tokens; give --data.sequence-length {shape.context_length} or less, or name"
            " another teacher"
        )
    kept = begun.run.teacher_digest if begun and begun.run.teacher == name else weights_digest(found)
    return replace(settings, run=replace(settings.run, teacher_digest=kept))


def load_teacher(config: TrainConfig, device: torch.device) -> GPT2 | None:
    """The teacher on its device, in evaluation mode, without gradients, with the run's kernels; None if there is none.

    Raises:
        UsageError: its folder is gone.
        TaleError: it holds other weights than when the run was begun.
    """
    run = config.run
    if not run.teacher:
        return None
    return unchanged_model("run.teacher", run.teacher, run.teacher_digest, run.kernels).requires_grad_(False).to(device)
