"""What the server says no to, in one line of JSON: {"error": "..."}."""

from collections.abc import Mapping

from starlette.responses import JSONResponse

RETRY_S = 2


class Refusal(Exception):
    """An answer other than 200: its status, the line, and headers."""

    def __init__(
        self, status: int, line: str, headers: Mapping[str, str] | None = None
    ):
        super().__init__(line)
        self.status, self.headers = status, dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer."""
        line = " ".join(str(self).split())
        return JSONResponse({"error": line}, self.status, self.headers)


def busy(what: str) -> Refusal:
    """The answer when there is too much to do at once."""
    line = f"{what}. Come again in {RETRY_S} s."
    return Refusal(503, line, {"Retry-After": str(RETRY_S)})
