"""The errors that reach a person: each says what was expected, what was found, where, and what to do."""


class TaleError(Exception):
    """A failure that the person can understand and mend; the command line prints it and exits with 1."""

    exit_code = 1


class NotFiniteError(TaleError):
    """The model computes numbers that are not finite."""

    def __init__(self) -> None:
        super().__init__(
            "the model gives logits that are not finite: its weights are damaged, or its training diverged"
        )


class UsageError(TaleError, ValueError):
    """A request that cannot be carried out as it was typed or configured; the command line exits with 2."""

    exit_code = 2
