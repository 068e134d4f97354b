"""The command line has the verb `bench` where tools are tested, as `python3 run.py bench` gives it."""

import pytest

from tinytale.cli import app


@pytest.fixture(autouse=True, scope="session")
def bench_is_a_verb() -> None:
    if "bench" not in app:
        app.command("bench.commands:bench", name="bench")
