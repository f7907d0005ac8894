"""Work on many files in a few threads, in order, that ends at once where it is interrupted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING: Final = 64
"""Items for each thread that are begun or done and not yet taken: a corpus of millions is not held all at once."""


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """What ``function`` makes of each item, in their order.

    Where the consumer stops early, on Ctrl-C say, what has not begun is not done.
    """
    coming = iter(items)
    pool = ThreadPoolExecutor(threads)
    try:
        waiting: deque[Future[Result]] = deque(
            pool.submit(function, item) for item in islice(coming, threads * _WAITING)
        )
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(coming, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
