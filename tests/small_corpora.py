"""Small media for corpora made in tests, and runs of their adapters."""

import functools
import json
import pathlib
import tempfile

import made_media
import numpy as np
from programs import run

from avl_tf import media


@functools.cache
def _encoded(kind, suffix):
    """A second of video as bytes: encoding is slow, copies are not."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"video{suffix}"
        frames = [made_media.numbered(i) for i in range(10)]
        sound = {
            "good": made_media.sine(1),
            "zeros": np.zeros(made_media.RATE),
            "mute": None,
        }[kind]
        codecs = {".webm": {"video_codec": "libvpx", "audio_codec": "libopus"}}
        made_media.make_media(path, frames, sound, fps=10, **codecs.get(suffix, {}))
        return path.read_bytes()


def video(path, kind="good"):
    """Writes a video with sound, of "zeros", or "mute" (no audio stream)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded(kind, path.suffix.lower()))


def wav(path, hz=440.0):
    """Writes a second of a sine; of zeros with hz=0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    media.write_wav(str(path), made_media.sine(1, rate=16000, hz=hz), 16000)


def image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    media.write_image(str(path), made_media.noise(seed))


def adapt(module, manifest, *arguments, cwd=None):
    """Runs an adapter."""
    return run(f"data_prep.{module}", f"--manifest={manifest}", *arguments, cwd=cwd)


def lines(manifest):
    """A manifest's lines by id; all of its media and images are there."""
    found = {}
    for text in manifest.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        for name in ("media", "image"):
            assert name not in line or (manifest.parent / line[name]).is_file()
        assert line["id"] not in found
        found[line["id"]] = line
    return found


def report(manifest):
    """Kind -> ids of the findings beside a manifest."""
    found = {}
    path = manifest.with_name(manifest.stem + ".report.jsonl")
    for text in path.read_text(encoding="utf-8").splitlines():
        finding = json.loads(text)
        found.setdefault(finding["kind"], []).append(finding["id"])
    return found
