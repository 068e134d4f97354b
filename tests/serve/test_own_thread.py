"""A thread of its own begins and ends with its work."""

import asyncio
import threading

import pytest

from tinytale.serve.own_thread import apart, awaited_apart


def refuse() -> None:
    raise ValueError("no")


def test_work_is_done_in_a_thread_that_is_gone_afterwards():
    before = threading.active_count()
    thread = apart(threading.current_thread)
    assert thread is not threading.current_thread() and not thread.is_alive()
    thread = asyncio.run(awaited_apart(threading.current_thread))
    assert thread is not threading.current_thread() and not thread.is_alive()
    assert threading.active_count() == before


def test_what_work_raises_is_raised():
    with pytest.raises(ValueError, match="no"):
        apart(refuse)
    with pytest.raises(ValueError, match="no"):
        asyncio.run(awaited_apart(refuse))


def test_others_are_served_meanwhile():
    async def both() -> bool:
        event = threading.Event()
        asyncio.get_running_loop().call_later(0.01, event.set)
        return await awaited_apart(lambda: event.wait(30))

    assert asyncio.run(both())
