import os
import signal
from collections.abc import Callable

import pytest

from tinytale.training import interrupt as module
from tinytale.training.interrupt import WARNINGS, Interrupt

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals as on Linux and macOS")


class Ended(BaseException):
    """In place of the end of the process."""


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Callable[[signal.Signals], None]:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(module.os, "_exit", end)
    return lambda number: signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, *WARNINGS], ids=lambda number: number.name)
def test_every_signal_asks_to_save(number: signal.Signals, send):
    with Interrupt() as interrupt:
        assert interrupt.signal_number is None
        send(number)
        assert interrupt.signal_number == number


def test_a_second_urgent_one_ends_the_process_and_no_other_does(send):
    with Interrupt() as interrupt:
        for number in (signal.SIGXCPU, signal.SIGXCPU, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            send(number)
        assert interrupt.signal_number == signal.SIGXCPU
        with pytest.raises(Ended, match=str(128 + signal.SIGINT)):
            send(signal.SIGINT)


def test_what_nohup_ignores_stays_ignored(send):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            send(signal.SIGHUP)
            assert interrupt.signal_number is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
