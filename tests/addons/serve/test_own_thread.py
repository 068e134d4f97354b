"""A thread of its own begins and ends with its work."""

import threading

import pytest

from tinytale.addons.serve.own_thread import apart


def test_work_is_done_in_a_thread_that_is_gone_afterwards():
    thread = apart(threading.current_thread)
    assert thread is not threading.current_thread() and not thread.is_alive()


def test_what_work_raises_is_raised():
    def refuse() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        apart(refuse)
