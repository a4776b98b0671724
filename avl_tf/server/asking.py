"""A search as its query string asks for it."""

import re
from collections.abc import Mapping, Sequence

from avl_tf.server.refusals import Refusal
from avl_tf.server.site import MOST_HITS, Asked

_CHOICES = {
    "by": ("auto", "audio", "video", "image", "window"),
    "output": ("auto", "video", "audio"),
    "rerank": ("1", "0", "true", "false"),
}
_NUMBERS = {"n": (1, MOST_HITS), "window": (0, 2**62)}
# Of what a preview is made of.
_LONGEST_S = 120.0
_KNOWN = ("index", "language", *_CHOICES, *_NUMBERS)


def of_query(given: Mapping[str, str], names: Sequence[str]) -> Asked:
    """Reads ?index=&by=&output=&language=&n=&rerank=&window=, all of which have values.

    Args:
        given: the query's.
        names: of the indexes, the default first.

    Raises:
        Refusal: 400, or 404 for an index that is not served.
    """
    for name in given:
        if name not in _KNOWN:
            raise Refusal(
                400, f"unknown option {name[:40]!a}. Known: {', '.join(_KNOWN)}."
            )
    index = given.get("index", names[0])
    if index not in names:
        raise Refusal(404, f"no index {index[:80]!a}: there are {', '.join(names)}.")
    language = given.get("language", "und")
    if not re.fullmatch(r"[\w-]{1,40}", language):
        raise Refusal(400, f"language={language[:40]!a}: expected a tag, such as ro.")
    window = _number(given, "window", -1)
    by = _choice(given, "by", "auto" if window < 0 else "window")
    if (by == "window") != (window >= 0):
        raise Refusal(400, "by=window and window=ID go together.")
    return Asked(
        index,
        by,
        _choice(given, "output", "auto"),
        language,
        _number(given, "n", 10),
        _choice(given, "rerank", "1") in ("1", "true"),
        window,
    )


def span(given: Mapping[str, str]) -> tuple[float, float]:
    """Reads ?start=&end= in seconds, of a span that is not too long to look at."""
    times = [given.get(name, "") for name in ("start", "end")]
    if all(re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", one) for one in times):
        start_s, end_s = (round(float(one), 1) for one in times)
        if start_s <= end_s:
            return start_s, min(end_s, start_s + _LONGEST_S)
    raise Refusal(400, "expected ?start=SECONDS&end=SECONDS, a span of the file.")


def _choice(given: Mapping[str, str], name: str, default: str) -> str:
    value = given.get(name, default)
    if value not in _CHOICES[name]:
        known = ", ".join(_CHOICES[name])
        raise Refusal(400, f"{name}={value[:40]!a}: expected one of {known}.")
    return value


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    value, (lowest, highest) = given.get(name), _NUMBERS[name]
    if value is None:
        return default
    good = re.fullmatch("[0-9]{1,18}", value, re.ASCII)
    if not good or not lowest <= int(value) <= highest:
        raise Refusal(
            400, f"{name}={value[:40]!a}: expected a number from {lowest} to {highest}."
        )
    return int(value)
