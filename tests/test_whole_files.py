"""Whoever writes a local file leaves a whole one, or what was there before."""

import subprocess
import sys
import wave

import av
import numpy as np
import pytest

from avl_tf import files, manifest, media, whole_files
from avl_tf.torch_weights import writer
from data_prep.builder import video_scan


def _breaks(*arguments, **keywords):
    raise KeyError("broken off")


def _broken_lines():
    yield {"id": "a", "media": "a.mp4"}
    raise KeyError("broken off")


def _broken_frames():
    yield np.zeros((32, 32, 3), np.uint8)
    raise KeyError("broken off")


def _scan(folder):
    task = video_scan.ScanTask("id", "video.mp4", "silero", str(folder))
    path = video_scan._result_path(task)
    return path, lambda: video_scan._keep(task, video_scan.Scan(), [], [[], None])


SOUND, IMAGE = np.zeros(1600, np.float32), np.zeros((8, 8, 3), np.uint8)
# A file to write, the call, and what breaks in the middle of it, if not its input.
WRITERS = {
    "manifest": lambda d: (
        d / "a.jsonl",
        lambda: manifest.write_manifest(str(d / "a.jsonl"), _broken_lines()),
    ),
    "video": lambda d: (
        d / "a.mp4",
        lambda: media.write_video(d / "a.mp4", _broken_frames(), 10, SOUND),
    ),
    "sound": lambda d: (
        d / "a.wav",
        lambda: media.write_wav(d / "a.wav", SOUND, 16000),
        (wave.Wave_write, "writeframes"),
    ),
    "image": lambda d: (
        d / "a.png",
        lambda: media.write_image(d / "a.png", IMAGE),
        (av.CodecContext, "create"),
    ),
    "weights": lambda d: (
        d / "a.pth",
        lambda: writer.write_state_dict(str(d / "a.pth"), {"a": np.zeros(2, "f4")}),
        (writer, "_pickle"),
    ),
    "scan": lambda d: (*_scan(d), (np, "savez")),
    "text": lambda d: (
        d / "a.txt",
        lambda: files.write_text(str(d / "a.txt"), "a"),
        (whole_files.os, "replace"),
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_writer_that_breaks_off_leaves_the_old_file_and_no_other(
    kind, tmp_path, monkeypatch
):
    path, write, *breaking = WRITERS[kind](tmp_path)
    for old in ((), ("a",)):
        for content in old:
            with open(path, "w") as out:
                out.write(content)
        with monkeypatch.context() as patch, pytest.raises(KeyError):
            for where, name in breaking:
                patch.setattr(where, name, _breaks)
            write()
        found = [one.read_text() for one in tmp_path.rglob("*") if one.is_file()]
        assert found == list(old)


def test_two_that_write_one_file_do_not_meet(tmp_path):
    path = tmp_path / "new" / "text"
    with whole_files.replacing(path) as one, whole_files.replacing(path) as other:
        for name, content in ((one, "one"), (other, "other")):
            with open(name, "w") as out:
                out.write(content)
        assert not path.exists()
    assert path.read_text() == "one"  # the last one to end
    assert [one.name for one in path.parent.iterdir()] == ["text"]


@pytest.mark.parametrize("module", ["avl_tf.whole_files", "data_prep.build"])
def test_writing_needs_no_tensorflow(module):
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


_LEFT = "a\n[b].npz." + "0" * 32 + ".tmp"
_KEPT = ("a.npz", "a.tmp", "a.npz." + "g" * 32 + ".tmp", "0" * 32 + ".tmp")


def _fill(*folders):
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (_LEFT, *_KEPT):
            (folder / name).touch()


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    folder = tmp_path / "out[1]*"
    neighbour = tmp_path / "out1x"
    _fill(folder, folder / "scans" / "0a", folder / "records", neighbour)
    with whole_files.used(str(folder), "scans", "not there"):
        assert not (folder / _LEFT).exists()
        assert not (folder / "scans" / "0a" / _LEFT).exists()
    assert (folder / "records" / _LEFT).exists() and (neighbour / _LEFT).exists()
    for place in (folder, folder / "scans" / "0a", folder / "records"):
        assert all((place / name).exists() for name in _KEPT)


def test_a_folder_that_another_process_uses_is_left_alone(tmp_path):
    code = "import sys; from avl_tf import whole_files\n"
    code += f"with whole_files.used({str(tmp_path)!r}): print(1, flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout.readline() == b"1\n"
        _fill(tmp_path)
        with whole_files.used(str(tmp_path)):
            assert (tmp_path / _LEFT).exists()
        other.kill()
    with whole_files.used(str(tmp_path)), whole_files.used(str(tmp_path)):
        assert not (tmp_path / _LEFT).exists()
