"""The two errors that reach a person: each says what was expected, what was found, where, and what to do."""


class TaleError(Exception):
    """A failure that the person can understand and mend; the command line prints it and exits with 1."""

    exit_code = 1


class UsageError(TaleError, ValueError):
    """A request that cannot be carried out as it was typed or configured; the command line exits with 2."""

    exit_code = 2
