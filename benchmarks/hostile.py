"""Uploads that no server should take: what is in each, and which kind it is."""

import io
import itertools
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

_RATE = 16000
_TEXTS = {
    "text": b"speak, friend\n" * 50,
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "dash": b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=audio 9 RTP/AVP 0\n",
    "pls": b"[playlist]\nFile1=http://127.0.0.1:1/a.mp3\n",
    "smil": b"<smil><body><audio src='http://127.0.0.1:1/a.mp3'/></body></smil>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/>",
    "html": b"<!DOCTYPE html><script>alert(1)</script>",
    "zeros": bytes(100_000),
    "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "json": b"[" * 10_000,
    "one byte": b"R",
}


def uploads(n: int, video: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields n uploads, each with its kind.

    Args:
        n: how many.
        video: a good one, parts of which are among them.
    """
    random = np.random.default_rng(0)
    made = {
        "bomb": png(30_000),
        "long strip": png(40_000, 1),
        "no samples": wav(0),
        "two hours": wav(3600 * 8000, rate=4000),  # 58 MB
        "silent": wav(0, _RATE) + bytes(2 * _RATE),
        "claims more": wav(_RATE, 10 * _RATE),
        "rate 0": wav(100, rate=0),
        "rate 4 GHz": wav(100, rate=2**32 - 1),
        "zip": _zip_bomb(),
        "tar": _tar(),
        **_TEXTS,
    }
    yield from itertools.islice(made.items(), n)
    for number in range(max(0, n - len(made))):
        share = random.uniform(0.02, 0.85)
        part = bytearray(video[: round(share * len(video))])
        kind = "truncated"
        if number % 3 == 1:
            kind, part = "noise", bytearray(random.bytes(50_000))
        elif number % 3 == 2:
            # The head of a file that says what is in it, and damage in that.
            kind = "damaged"
            part[4:4000] = random.bytes(3996)
        yield kind, bytes(part)


def png(width: int, height: int | None = None) -> bytes:
    """A black PNG that claims its pixels, of which it holds some rows."""
    height = height or width

    def chunk(kind, content):
        both = kind + content
        end = struct.pack(">I", zlib.crc32(both))
        return struct.pack(">I", len(content)) + both + end

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer, row = zlib.compressobj(9), bytes(1 + 3 * width)
    rows = [packer.compress(row) for _ in range(min(height, 400))] + [packer.flush()]
    end = chunk(b"IDAT", b"".join(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + end


def wav(n_samples: int, declared: int | None = None, rate: int = _RATE) -> bytes:
    """A WAV of 16 bits whose header declares so many samples, or those it has."""
    n_bytes = 2 * (n_samples if declared is None else declared)
    bytes_a_second = min(2 * rate, 2**32 - 1)
    head = struct.pack(
        "<4sI8sIHHIIHH4sI",
        *(b"RIFF", 36 + n_bytes, b"WAVEfmt ", 16, 1, 1, rate, bytes_a_second, 2, 16),
        *(b"data", n_bytes),
    )
    return head + np.resize(np.int16([900, -900, 40]), n_samples).tobytes()


def _zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.wav", bytes(50_000_000))
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("../../etc/passwd"), io.BytesIO())
    return file.getvalue()
