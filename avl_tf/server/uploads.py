"""What is sent to the server, bounded while it comes in, under a name of ours."""

import contextlib
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import anyio
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from avl_tf.server.refusals import Refusal

# However slow the line is: a place in the queue is held meanwhile.
_MOST_S = 120.0
_PIECE = 1 << 16


async def chunks(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yields the body as it comes.

    Raises:
        Refusal: 413, it is larger than it may be: at once if it says so itself.
    """
    refusal = Refusal(
        413, f"more than the {max_bytes:,} bytes that an upload may have."
    )
    declared = request.headers.get("content-length", "0")
    n_bytes = 0
    if declared.isdecimal() and len(declared) < 20 and int(declared) > max_bytes:
        raise refusal
    async for chunk in request.stream():
        n_bytes += len(chunk)
        if n_bytes > max_bytes:
            raise refusal
        yield chunk


async def body(request: Request, max_bytes: int) -> bytes:
    """The whole body; raises as chunks, and Refusal 408 if it does not come."""
    with _in_time():
        return b"".join([chunk async for chunk in chunks(request, max_bytes)])


@contextlib.asynccontextmanager
async def received(request: Request, folder: str, max_bytes: int) -> AsyncIterator[str]:
    """Keeps an upload in a file for the while, and yields the file's path.

    The body is the file itself, or a form (multipart/form-data) that holds one file.

    Raises:
        Refusal: it is empty, too large, no such form, or does not come.
    """
    path = os.path.join(folder, uuid.uuid4().hex)
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    try:
        with _in_time():
            if kind == b"multipart/form-data":
                await _keep_part(request, path, max_bytes)
            else:
                async with await anyio.open_file(path, "wb") as file:
                    async for chunk in chunks(request, max_bytes):
                        await file.write(chunk)
        if not os.path.getsize(path):
            raise Refusal(400, "an empty upload: send the bytes of a media file.")
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


async def _keep_part(request: Request, path: str, max_bytes: int) -> None:
    # The parser takes what it is given and no more than it is given.
    parser = MultiPartParser(
        request.headers, chunks(request, max_bytes), max_files=1, max_fields=8
    )
    try:
        form = await parser.parse()
    except (MultiPartException, HTTPException) as error:
        said = getattr(error, "message", "") or str(error)
        raise Refusal(400, f"not a form with one file: {said}") from error
    files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
    try:
        if len(files) != 1:
            raise Refusal(400, "a form without a file: send it as a field of its own.")
        async with await anyio.open_file(path, "wb") as file:
            while piece := await files[0].read(_PIECE):
                await file.write(piece)
    finally:
        await form.close()


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    try:
        with anyio.fail_after(_MOST_S):
            yield
    except TimeoutError as error:
        raise Refusal(408, f"the upload took more than {_MOST_S:g} s.") from error
