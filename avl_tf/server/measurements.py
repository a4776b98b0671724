"""What the server counts, as Prometheus reads it (text format 0.0.4)."""

import bisect
import collections
from collections.abc import Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Measurements:
    """Requests by route and status, and how long they took."""

    def __init__(self):
        self._counts = collections.Counter[tuple[str, int]]()
        self._within = collections.defaultdict[str, list[int]](
            lambda: [0] * (len(_BOUNDS_S) + 1)
        )
        self._sums = collections.defaultdict[str, float](float)

    def add(self, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self._counts[route, status] += 1
        self._within[route][bisect.bisect_left(_BOUNDS_S, seconds)] += 1
        self._sums[route] += seconds

    def text(self, gauges: Mapping[str, tuple[str, Mapping[str, float]]]) -> str:
        """All of it.

        Args:
            gauges: by name what it is, and its values by what stands in braces, as in
                'model="ro"'; "" is none.
        """
        lines = _head("requests_total", "counter", "Requests by route and status.")
        for (route, status), count in sorted(self._counts.items()):
            labels = f'route="{route}",status="{status}"'
            lines.append(f"avl_tf_requests_total{{{labels}}} {count}")
        name = "request_seconds"
        lines += _head(name, "histogram", "Time until a request was answered.")
        for route, within in sorted(self._within.items()):
            total = 0
            for bound, count in zip((*_BOUNDS_S, "+Inf"), within, strict=True):
                total += count
                labels = f'route="{route}",le="{bound}"'
                lines.append(f"avl_tf_{name}_bucket{{{labels}}} {total}")
            lines.append(f'avl_tf_{name}_sum{{route="{route}"}} {self._sums[route]:g}')
            lines.append(f'avl_tf_{name}_count{{route="{route}"}} {total}')
        for name, (what, values) in gauges.items():
            lines += _head(name, "gauge", what)
            for labels, value in values.items():
                braces = f"{{{labels}}}" if labels else ""
                lines.append(f"avl_tf_{name}{braces} {value}")
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, what: str) -> list[str]:
    return [f"# HELP avl_tf_{name} {what}", f"# TYPE avl_tf_{name} {kind}"]
