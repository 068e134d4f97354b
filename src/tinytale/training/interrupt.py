"""Ctrl-C and SIGTERM ask the training to stop after the step at hand; a second one stops it at once."""

import os
import signal
import threading
from types import FrameType


class Interrupt:
    """While entered, the first signal sets `signal_number`, the second ends the process."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupt":
        """Take over the signals. (Only a process's main thread may.)"""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            os._exit(exit_code(number))
        self.signal_number = number


def exit_code(signal_number: int) -> int:
    """How a process ends that a signal has stopped, as in shells: 130 for Ctrl-C, 143 for SIGTERM; 0 without one."""
    return 128 + signal_number if signal_number else 0
