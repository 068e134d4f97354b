"""Back to the best weights, when training has gone where no update is finite any more."""

from tinytale.errors import TaleError
from tinytale.runs import RunFolder
from tinytale.training.checkpoint import load_checkpoint
from tinytale.training.loop import TrainState, initial_model

MOST_SKIPS_IN_A_ROW = 10
MOST_ROLLBACKS = 3


def roll_back(run: RunFolder, state: TrainState) -> int:
    """Put the best weights so far, with their optimiser state, back into `state`, and halve the learning rate.

    One bad batch costs one update. When many in a row are refused, it is the weights that are bad, and so may be those
    of the newest checkpoint; the best ones have scored a finite dev loss. They would come to the same place again at
    the same rate, so the rate is halved, for the rest of the run. The step goes on counting: the batches that were met
    on the way are not met again, the run does not grow longer, and every line of the metrics stays true. Without a best
    checkpoint the weights go back to the initial ones.

    The best step and the counters depend on the steps alone, not on when checkpoints were written, so a run that is
    killed anywhere and resumed rolls back likewise.

    Returns the step whose weights these are, 0 for the initial ones.

    Raises:
        TaleError: it has been tried often enough, or the best checkpoint is damaged.
    """
    progress = state.progress
    if progress.rollbacks == MOST_ROLLBACKS:
        raise TaleError(
            f"the loss or its gradient was not finite {MOST_SKIPS_IN_A_ROW} times in a row, up to step {progress.step},"
            f" again after {MOST_ROLLBACKS} rollbacks to the best weights; lower optimiser.learning_rate or lengthen"
            " optimiser.warmup_steps, and train into a new folder"
        )
    best = state.ranks.greatest(progress.best_step if run.checkpoint(progress.best_step).is_dir() else 0)
    if best:
        load_checkpoint(run, best, state.model, state.optimiser)
    else:
        state.model.load_state_dict(initial_model(state.config).state_dict())
        state.optimiser.load_state({})
    progress.rollbacks += 1
    progress.skips_in_a_row = 0
    return best
