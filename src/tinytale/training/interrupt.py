"""Signals ask the training to save and stop as soon as it can; a second Ctrl-C or SIGTERM stops it at once."""

import os
import signal
import threading
from types import FrameType

URGENT = (signal.SIGINT, signal.SIGTERM)
"""A second one of these ends the process."""

WARNINGS = [getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGXCPU") if hasattr(signal, name)]
"""A terminal that closes, a cluster that will end the job, processor time that runs out. They may come several times;
one that is ignored when the process starts, as by nohup, stays ignored. Windows has none of them."""


class Interrupt:
    """While entered, the first signal sets `signal_number`."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._urgent = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        """Take over the signals. (Only a process's main thread may.)"""
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in WARNINGS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._receive) for number in (*URGENT, *heard)}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number in URGENT:
            self._urgent += 1
        if self._urgent > 1:
            os._exit(exit_code(number))
        self.signal_number = self.signal_number or number


def exit_code(signal_number: int) -> int:
    """How a process ends that a signal has stopped, as in shells: 130 for Ctrl-C, 143 for SIGTERM; 0 without one."""
    return 128 + signal_number if signal_number else 0
