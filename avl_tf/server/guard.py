"""Around all routes: who may ask, what every answer carries, what is counted."""

import ipaddress
import socket
import time
import urllib.parse
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avl_tf.server.measurements import Measurements
from avl_tf.server.refusals import Refusal

_OURS = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
HEADERS = {
    "Content-Security-Policy": (
        f"{_OURS}; img-src 'self' blob:; media-src 'self' blob:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


class Guard:
    """ASGI middleware; see the module.

    A page of elsewhere can have a browser on this machine ask us. It is told by its
    Origin; or, where its name was made to lead to this machine (DNS rebinding), by
    the name that it asks for, which is none of ours.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], measured: Measurements):
        """Wraps an app.

        Args:
            app: the app.
            names: of hosts, beside addresses, localhost and this machine's own.
            measured: takes the time of each request.
        """
        own = (socket.gethostname(), socket.getfqdn())
        self._names = {name.lower() for name in ("localhost", *own, *names)}
        self._app, self._measured = app, measured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or has the app do so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 500

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        try:
            self._check(scope["method"], Headers(scope=scope), scope["scheme"])
        except Refusal as refusal:
            await refusal.response()(scope, receive, send_more)
        else:
            await self._app(scope, receive, send_more)
        finally:
            # Names of routes alone: what was asked for could be any text.
            endpoint = scope.get("endpoint")
            route = getattr(endpoint, "__name__", "none")
            self._measured.add(route, status, time.monotonic() - begun)

    def _check(self, method: str, headers: Headers, scheme: str) -> None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise Refusal(
                421,
                f"this server is not {host[:80]!a}. Ask for it by its address, or "
                "start it with --server_names=NAME.",
            )
        if method in ("GET", "HEAD"):
            return
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "same-origin")
        is_ours = origin in (None, f"{scheme}://{host}")
        if not is_ours or site not in ("same-origin", "none"):
            raise Refusal(403, "a page of elsewhere may not ask this server.")

    def _is_ours(self, host: str) -> bool:
        try:
            name = urllib.parse.urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name.rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
