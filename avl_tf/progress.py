"""How far something long is: a bar on a terminal, elsewhere a line of the log."""

import threading
import time
from collections.abc import Iterator

from absl import logging
from tqdm import tqdm

from avl_tf.wording import counted, span

_EVERY_S = 30.0


class Bar(tqdm):
    """tqdm on a terminal; where there is none, a line of the log every 30 s."""

    def __init__(self, iterable=None, desc="", total=None, unit="file", initial=0):
        """Begins.

        Args:
            iterable: what is counted as it is iterated over; None counts by update.
            desc: what is done, of the line.
            total: how many there will be; len(iterable) if left out.
            unit: what one of them is.
            initial: how many are done already.
        """
        self._ended = threading.Event()
        super().__init__(
            iterable, desc, total, unit=unit, initial=initial, disable=None
        )
        if self.disable:
            self._begun, self._initial = time.monotonic(), initial
            start = f"{desc}: " if desc else ""
            threading.Thread(target=self._tell, args=(start, unit), daemon=True).start()

    def __iter__(self) -> Iterator:
        if not self.disable:
            yield from super().__iter__()
            return
        with self:
            for one in self.iterable:
                yield one
                self.update()

    def update(self, n: float | None = 1) -> bool | None:
        """Counts n more as done."""
        if self.disable:
            self.n += n
            return None
        return super().update(n)

    def close(self) -> None:
        """Ends it."""
        self._ended.set()
        super().close()

    def _tell(self, start: str, unit: str) -> None:
        while not self._ended.wait(_EVERY_S):
            n, total, left = int(self.n), self.total, ""
            if total is None:
                logging.info("%s%s", start, counted(n, unit))
                continue
            if n > self._initial:
                took_s = time.monotonic() - self._begun
                left_s = took_s / (n - self._initial) * (total - n)
                left = f", about {span(left_s)} left"
            logging.info("%s%d of %s%s", start, n, counted(total, unit), left)
