"""Work with torch in a thread that ends with it.

The OpenMP runtime keeps a team of threads for every thread that has once computed in parallel. As soon as there are
more of them than cores, idle ones sleep at once instead of waiting a moment for more work, and the scheduler, whose
decoder asks for its team hundreds of times a second, is slowed down. A team goes with the thread that it belongs to.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def apart(work: Callable[[], Result]) -> Result:
    """What `work` gives or raises."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()
