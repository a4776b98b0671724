"""How much is done at once, and how much may wait for it."""

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from avl_tf.server.refusals import busy


class Line:
    """Threads that work, and a bounded line of those that wait for one.

    Attributes:
        length: how many are at work or wait.
        limit: how many may.
    """

    def __init__(self, name: str, n_threads: int, limit: int):
        """Starts a line.

        Args:
            name: what it is called where it is full.
            n_threads: how much is done at once.
            limit: places, of those who work and those who wait.
        """
        self.length, self.limit, self._name = 0, limit, name
        self._threads = concurrent.futures.ThreadPoolExecutor(n_threads, name)

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place for the while; Refusal 503 if there is none."""
        if self.length >= self.limit:
            raise busy(f"{self.length} {self._name} are at work or wait")
        self.length += 1
        try:
            yield
        finally:
            self.length -= 1

    async def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Waits for the result of a function in one of the threads.

        Work goes on when who asked for it is gone, and keeps its thread until then.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    def close(self) -> None:
        """Lets go of the threads; what waits is not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)
