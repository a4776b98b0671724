"""Long sound on its way to a log-mel: the same bits, little memory, nothing left."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from avl_tf import audio, extraction, media, records, spool
from avl_tf.commands import indexing
from avl_tf.manifest import Recording
from avl_tf.retrieval import making
from avl_tf.retrieval.entries import Source
from avl_tf.retrieval.origins import Wanted
from avl_tf.retrieval.tasks import Model
from avl_tf.retrieval.windows import WindowConfig
from avl_tf.settings.audio import AudioConfig
from avl_tf.settings.extraction import ExtractionConfig
from avl_tf.spool import Spool
from tests.programs import environment

CONFIG = AudioConfig()
PIECE = 16000


def _spooled(samples, folder, row=None):
    row = Spool(np.int16, folder) if row is None else row
    for first in range(0, len(samples), PIECE):
        row.append(samples[first : first + PIECE])
    return row


def _is_on_disk(row):
    return row._file._rolled


@pytest.fixture
def small(monkeypatch):
    """Seconds are as long as minutes: beyond a second of sound it goes to the disk."""
    monkeypatch.setattr(spool, "IN_MEMORY_BYTES", 2 * PIECE)
    monkeypatch.setattr(spool, "_PIECE", 7000)
    monkeypatch.setattr(audio, "_PIECE", 9999)


@pytest.mark.parametrize("folder", [None, "here"])
def test_any_span_comes_back_from_memory_and_from_the_disk(small, tmp_path, folder):
    numbers = np.arange(5 * PIECE, dtype=np.int16)
    with Spool(np.int16, folder and str(tmp_path)) as row:
        row.append(numbers[:3])
        row.clear()
        assert len(row) == 0 and not row.any()
        _spooled(numbers, None, row)
        assert _is_on_disk(row) == bool(folder) and len(row) == len(numbers)
        for span in (slice(0, 0), slice(3, 40000), slice(79999, None), slice(90000, 9)):
            assert np.array_equal(row[span], numbers[span])
        row.append(numbers[:5])  # goes on behind the end, wherever was read
        assert np.array_equal(row[79998:], [*numbers[79998:], *numbers[:5]])
        assert os.listdir(tmp_path) == []  # it has no name
        row.clear()
        _spooled(np.zeros(2 * PIECE, np.int16), None, row)
        assert len(row) == 2 * PIECE and not row.any()
        row.append(numbers[1:2])
        assert row.any()


@pytest.mark.parametrize(
    "n_samples",
    # Of a window, of chunks of 64 frames, and of pieces.
    [1, 2, 199, 200, 201, 399, 400, 401, 9998, 9999, 10000, 10239, 10240, 10241, 10440]
    + [16001, 20479, 20480, 80079],
)
def test_a_log_mel_from_the_disk_has_the_bits_of_one_from_memory(
    small, tmp_path, n_samples
):
    random = np.random.default_rng(n_samples)
    samples = random.normal(300, 4000, n_samples).astype(np.int16)
    samples[n_samples // 2 :] //= 8  # the loudest is not where it ends
    expected = audio.long_log_mel(samples, CONFIG, 64)
    assert expected.max() == 0
    with _spooled(samples, str(tmp_path)) as row:
        assert _is_on_disk(row) == (n_samples > 16000)
        found = audio.long_log_mel(row, CONFIG, 64)
        assert found.tobytes() == expected.tobytes()
        rounded = audio.long_log_mel(row, CONFIG, 64, np.float16)
        assert rounded.tobytes() == expected.astype(np.float16).tobytes()


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_a_record_is_the_same_wherever_its_sound_waited(small, tmp_path, storage):
    path = tmp_path / "a.wav"
    waveform = np.random.default_rng(0).normal(0, 0.1, 4 * PIECE).astype(np.float32)
    media.write_wav(str(path), waveform, PIECE)
    config = ExtractionConfig("", "", "", "", storage=storage)
    made = [
        next(extraction.extract([Recording("a", str(path))], config, folder=folder))
        for folder in (None, str(tmp_path), f"file://{tmp_path}", "s3://bucket/a")
    ]
    first, *others = [records.encode(record, storage) for record in made]
    assert [other == first for other in others] == [True] * 3
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_folder_that_takes_nothing_is_one_line_for_the_recording(small, tmp_path):
    path = tmp_path / "a.wav"
    media.write_wav(str(path), np.full(4 * PIECE, 0.1, np.float32), PIECE)
    config = ExtractionConfig("", "", "", "")
    gone = str(tmp_path / "gone")
    (found,) = extraction.extract([Recording("a", str(path))], config, folder=gone)
    assert found["reason"] == (
        "its sound is too long for memory, and cannot be put down in "
        f"{gone} for the while: No such file or directory."
    )


def test_sound_of_an_index_waits_in_the_tasks_folder(small, monkeypatch, tmp_path):
    path = tmp_path / "a.wav"
    media.write_wav(str(path), np.full(4 * PIECE, 0.1, np.float32), PIECE)
    stat, recording = path.stat(), Recording("a", str(path))
    source = Source(str(path), "a", "a", size=stat.st_size, mtime_ns=stat.st_mtime_ns)

    class Embedder:
        def embed_record(self, record, source, config):
            return len(record.log_mel)

    monkeypatch.setattr(making, "_settle", lambda: None)
    monkeypatch.setattr(making, "_embedder_of_media", lambda _: Embedder())
    config = ExtractionConfig("", "", "", "")
    monkeypatch.setattr(making, "_extraction", lambda _: config)

    def make(folder):
        wanted = [Wanted(source, recording)]
        (task,) = indexing._tasks(wanted, Model(""), WindowConfig(), [], str(folder))
        return making.make(task)

    assert make(tmp_path) == [401]
    (failed,) = make(tmp_path / "gone")
    assert f"cannot be put down in {tmp_path / 'gone'}" in failed.reason


# A disk is full from the second megabyte on; the limit is of this process's files.
_FULL = """
    import resource, sys
    import numpy as np
    from avl_tf import spool
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    spool.IN_MEMORY_BYTES = {in_memory}
    with spool.Spool(np.int16, sys.argv[1]) as row:
        for _ in range(100):
            row.append(np.ones(16000, np.int16))
"""


@pytest.mark.parametrize("in_memory", [100, 2_000_000])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, in_memory):
    script = textwrap.dedent(_FULL).format(in_memory=in_memory)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script, str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stderr.splitlines()[-1] == (
        "avl_tf.errors.UserError: its sound is too long for memory, and cannot be put "
        f"down in {tmp_path} for the while: File too large."
    )
    assert "ignored" not in done.stderr and "ResourceWarning" not in done.stderr
    assert os.listdir(tmp_path) == []


# The largest resident size in kB after five minutes of sound, and after an hour.
_PEAKS = """
    import re, sys
    import numpy as np
    from avl_tf import audio
    from avl_tf.settings.audio import AudioConfig
    from avl_tf.spool import Spool

    second = np.random.default_rng(0).normal(0, 3000, 16000).astype(np.int16)
    for minutes in (5, 60):
        with Spool(np.int16, sys.argv[1]) as row:
            for _ in range(60 * minutes):
                row.append(second)
            audio.long_log_mel(row, AudioConfig(), dtype=np.float16)
        print(*re.findall(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux tells")
def test_an_hour_of_sound_takes_hardly_more_memory_than_five_minutes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_PEAKS), str(tmp_path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    short, long = map(int, done.stdout.split())
    # The log-mel itself is 26 MB larger; the sound would be 106, and its levels 53.
    assert long - short < 50_000
