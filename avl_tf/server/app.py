"""The routes: the page and what it asks for, search and prediction over HTTP."""

import contextlib
import os
import re
import resource
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from absl import logging
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from avl_tf.errors import MediaError, UserError
from avl_tf.server import answers, asking, decoding, uploads
from avl_tf.server.guard import Guard
from avl_tf.server.measurements import CONTENT_TYPE, Measurements
from avl_tf.server.previews import Previews
from avl_tf.server.refusals import Refusal
from avl_tf.server.site import Served, kind_of
from avl_tf.server.waiting import Line
from avl_tf.settings.server import ServerConfig

_PAGE = Path(__file__).with_name("page")
_FILES = {"": "index.html", "app.js": "app.js", "recorder.js": "recorder.js"}
_FILES |= {"style.css": "style.css", "icon.svg": "icon.svg"}
_MOST_PREVIEWS = 200
_KEEP = {"Cache-Control": "private, max-age=3600"}


def make(
    served: Mapping[str, Served], config: ServerConfig, folder: str
) -> Callable[..., Any]:
    """Makes the ASGI app.

    Args:
        served: by name, the default first.
        config: its bounds.
        folder: an empty one for uploads and previews, which is removed by the caller.
    """
    site = _Site(served, config, folder)
    routes = [
        *(Route(f"/{path}", _file(name)) for path, name in _FILES.items()),
        Route("/about", site.about),
        Route("/search", site.page_search, methods=["POST"]),
        Route("/v1/search", site.search, methods=["POST"]),
        Route("/media/{index}/{medium}", site.media),
        Route("/preview/{index}/{medium}.jpg", site.picture),
        Route("/preview/{index}/{medium}.json", site.peaks),
        Route("/healthz", site.healthz),
        Route("/metrics", site.metrics),
        # Of one version there is no other.
        *_of_model("", site.status),
        *_of_model("/metadata", site.metadata),
        *_of_model(":predict", site.predict, ["POST"]),
    ]
    handlers: dict[Any, Any] = {
        Refusal: lambda _, error: error.response(),
        HTTPException: _http,
        ClientDisconnect: lambda _, __: PlainTextResponse("", 400),
        Exception: _defect,
    }
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=site.lifespan)
    return Guard(app, config.server_names, site.measured)


def _of_model(end: str, endpoint: Any, methods: list[str] | None = None) -> list[Route]:
    versioned = "/v1/models/{name}/versions/{version:int}" + end
    return [
        Route("/v1/models/{name}" + end, endpoint, methods=methods),
        Route(versioned, endpoint, methods=methods),
    ]


class _File(FileResponse):
    """A file, whole or one range of it."""

    max_ranges = 1


class _Site:
    """What the routes share."""

    def __init__(self, served: Mapping[str, Served], config: ServerConfig, folder: str):
        self.served, self.config = dict(served), config
        self.measured = Measurements()
        self.searches = Line("searches", 1, config.queue)
        # A search waits in one line alone.
        self.decoders = Line("uploads", os.cpu_count() or 1, config.queue)
        self.pictures = Line("previews", 2, _MOST_PREVIEWS)
        self.folder = folder
        self.previews = Previews(folder, self.pictures)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        for line in (self.searches, self.decoders, self.pictures):
            line.close()

    async def about(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "indexes": [one.about for one in self.served.values()],
                "max_bytes": self.config.max_bytes,
                "max_seconds": self.config.max_seconds,
            }
        )

    async def page_search(self, request: Request) -> Response:
        return await self._answer(request, answers.for_page)

    async def search(self, request: Request) -> Response:
        return await self._answer(request, answers.as_listed)

    async def _answer(
        self, request: Request, form: Callable[..., Response]
    ) -> Response:
        asked = asking.of_query(request.query_params, list(self.served))
        served = self.served[asked.index]
        with self.searches.place():
            if asked.by == "window":
                answer = await self.searches.do(served.search, asked, None)
                return form(served, answer, None)
            limit = self.config.max_bytes
            async with uploads.received(request, self.folder, limit) as path:
                job = served.job(asked, path, self.config.max_seconds)
                try:
                    decoded = await self.decoders.do(decoding.run, job)
                    made = job, decoded
                    answer = await self.searches.do(served.search, asked, made)
                except MediaError as error:
                    text = str(error).replace(path, "the upload")
                    if "cannot be opened" in text:
                        text += " Send a sound, a video or a picture."
                    raise Refusal(422, text) from error
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        os.remove(job.out)
            return form(served, answer, decoded)

    async def media(self, request: Request) -> Response:
        served, medium = self._named(request, "medium")
        path = served.playable(medium)
        return _File(path, headers=_KEEP, media_type=kind_of(path))

    async def picture(self, request: Request) -> Response:
        found = await self._preview(request)
        if found.picture is None:
            raise Refusal(404, "nothing to be seen in it.")
        return FileResponse(found.picture, headers=_KEEP, media_type="image/jpeg")

    async def peaks(self, request: Request) -> Response:
        found = await self._preview(request)
        return JSONResponse({"peaks": found.peaks}, headers=_KEEP)

    async def _preview(self, request: Request) -> Any:
        served, medium = self._named(request, "medium")
        return await self.previews.get(
            served.playable(medium), *asking.span(request.query_params)
        )

    def _named(self, request: Request, name: str) -> tuple[Served, int]:
        """The index of a path, and the number that stands under a name in it."""
        served = self.served.get(request.path_params["index"])
        number = request.path_params[name]
        if served is None or not re.fullmatch(r"[0-9]{1,18}", number):
            raise Refusal(404, "no such address.")
        return served, int(number)

    async def healthz(self, _request: Request) -> Response:
        for served in self.served.values():
            if not served.store.generation >= 0:
                raise Refusal(503, f"{served.name}: no index.")
        return JSONResponse({"status": "ok"})

    async def metrics(self, _request: Request) -> Response:
        lines = (self.searches, self.decoders, self.pictures)
        windows = {
            f'index="{name}"': one.store.n_windows for name, one in self.served.items()
        }
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        gauges: dict[str, tuple[str, dict[str, float]]] = {
            "queue_length": (
                "Searches at work or waiting.",
                {"": float(self.searches.length)},
            ),
            "queue_limit": ("Searches that may wait.", {"": float(lines[0].limit)}),
            "previews_waiting": ("Previews that wait.", {"": float(lines[2].length)}),
            "index_windows": ("Windows in the index.", windows),
            "memory_bytes": ("Memory in use.", {"": float(_memory())}),
            "memory_most_bytes": ("The most that was.", {"": float(memory)}),
        }
        return Response(self.measured.text(gauges), media_type=CONTENT_TYPE)

    async def status(self, request: Request) -> Response:
        return JSONResponse(self._export(request).status())

    async def metadata(self, request: Request) -> Response:
        export = self._export(request)
        return JSONResponse(export.metadata(request.path_params["name"]))

    async def predict(self, request: Request) -> Response:
        export = self._export(request)
        with self.searches.place():
            text = await uploads.body(request, self.config.max_bytes)
            return JSONResponse(await self.searches.do(export.predict, text))

    def _export(self, request: Request) -> Any:
        name, version = request.path_params["name"], request.path_params.get("version")
        served = self.served.get(name)
        export = served and served.export
        if not export or version not in (None, int(export.version)):
            why = ""
            if served and not export:
                why = f" (its model, {served.model}, has no export: run avl_tf.export)"
            what = "Latest" if version is None else "Specific"
            called = f"{name}" if version is None else f"{name}, {version}"
            raise Refusal(
                404, f"Servable not found for request: {what}({called:.100}){why}"
            )
        return export


def _file(name: str) -> Callable[..., Any]:
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
    kind = kinds.get(Path(name).suffix, "image/svg+xml")

    async def page_file(_request: Request) -> Response:
        headers = {"Cache-Control": "no-cache"}
        return FileResponse(_PAGE / name, headers=headers, media_type=kind)

    return page_file


def _memory() -> int:
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _http(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    headers = getattr(error, "headers", None) or {}
    line = str(getattr(error, "detail", error))
    if methods := headers.get("Allow"):
        known = " or ".join(sorted(methods.split(", ")))
        line = f"{request.method} is not for this address: use {known}."
    return Refusal(status, line, headers).response()


def _defect(request: Request, error: Exception) -> Response:
    """What nobody raised on purpose is logged, and told without its words."""
    if isinstance(error, (UserError, OSError)):
        logging.warning("%s: %s", request.url.path, error)
        return Refusal(500, str(error)).response()
    logging.error("%s", request.url.path, exc_info=error)
    return Refusal(500, "a defect of the server, which its log tells of.").response()
