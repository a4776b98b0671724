"""Extraction, the builder, the adapters and the open door hear the same sound."""

import os
import pathlib

import av
import made_media
import narrated
import numpy as np
import pytest

from avl_tf import extraction, media
from avl_tf.manifest import Recording
from avl_tf.media import Note
from avl_tf.settings.extraction import ExtractionConfig
from avl_tf.trained import sources
from data_prep import checks, listening
from data_prep.builder import segmenters, video_scan
from data_prep.builder.video_scan import ScanTask

RATE = 16000
CASES = pathlib.Path(__file__).parent / "data" / "cases"
# Pictures cost time, and are none of this.
CONFIG = ExtractionConfig("", "", "", "")


def write(path, waveform, codec="pcm_s16le", layout="mono", pictures=True):
    n_pictures = len(waveform.T) * 5 // RATE
    frames = [made_media.numbered(i % 256) for i in range(n_pictures)]
    return made_media.make_media(
        path,
        frames if pictures else [],
        waveform,
        fps=5,
        audio_codec=codec,
        layout=layout,
        rate=RATE,
    )


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """One scene, spoken into files of which some ask for another way to be heard."""
    folder = tmp_path_factory.mktemp("spoken")
    scene, _ = narrated.scene()
    waveform = np.asarray(scene, np.float32)[: 14 * RATE]
    opposite = np.stack([waveform, -waveform])
    write(folder / "plain.mkv", waveform)
    write(folder / "opposite.mkv", opposite, layout="stereo")
    write(folder / "loud.mkv", 20 * waveform, "pcm_f32le")
    write(folder / "quiet.mkv", 1e-3 * waveform, "pcm_f32le")
    return folder


def extract(path):
    notes = []
    (record,) = extraction.extract([Recording(path.stem, str(path))], CONFIG, notes)
    return record, notes


@pytest.mark.parametrize("kind", ["opposite", "loud", "quiet"])
def test_every_caller_hears_what_16_bits_do_not_hold(spoken, kind, tmp_path):
    path, plain = spoken / f"{kind}.mkv", spoken / "plain.mkv"
    expected, _ = extract(plain)
    record, notes = extract(path)
    assert record.log_mel.shape == expected.log_mel.shape
    assert np.mean(record.log_mel) == pytest.approx(np.mean(expected.log_mel), abs=0.1)
    kinds = [note.kind for note in notes]
    assert kinds == (["cancelling channels"] if kind == "opposite" else [])

    heard = sources.samples(str(path), RATE)
    np.testing.assert_array_equal(heard, media.collect(media.decode(path, RATE)))

    scans = [
        video_scan.scan(ScanTask("a", str(one), "silero", str(tmp_path / one.stem)))
        for one in (plain, path)
    ]
    assert not scans[1].failure and scans[0].speech
    spans = [segmenters.join(scan.speech, 0.5) for scan in scans]
    np.testing.assert_allclose(spans[1], spans[0], atol=0.2)
    assert scans[1].duration_s == scans[0].duration_s
    # Fingerprints would hold the first reading too, were they not begun anew.
    hashes = [len(scan.fingerprints["audio"].hashes) for scan in scans]
    assert hashes[1] == pytest.approx(hashes[0], rel=0.2)


def test_an_adapter_notes_cancelling_channels_and_keeps_them(spoken):
    line = {"id": "a", "media": str(spoken / "opposite.mkv"), "split": "all"}
    notes = []
    finding, length_s = listening.examine(line, notes=notes)
    assert [note.kind for note in notes] == ["cancelling channels"] and not finding
    assert "cancelling channels" not in checks.DEFECTS
    assert length_s == pytest.approx(14, abs=0.3)
    line["media"] = str(spoken / "plain.mkv")
    notes.clear()
    assert listening.examine(line, notes=notes)[0] is None and not notes


def test_a_line_of_a_video_whose_sound_starts_late_is_kept():
    line = {"id": "a", "media": str(CASES / "late_audio.mp4"), "split": "all"}
    assert listening.examine(line)[0] is None
    assert not listening.is_silent(line["media"])
    assert not media.read_waveform(line["media"], RATE, 0, 1).any()
    assert len(media.read_waveform(line["media"], RATE, 0, 1)) == RATE


def test_a_hole_in_the_sound_is_silent_to_the_end_asked_for():
    path = CASES / "hole.mp4"
    for end_s in (4, 4.5, 4.6):
        for start_s in (0, 2, 3.5):
            waveform = media.read_waveform(path, RATE, start_s, end_s)
            assert len(waveform) == round((end_s - start_s) * RATE)
            assert not waveform[round(max(0, 3.1 - start_s) * RATE) :].any()
    clips = ({"start_s": 3.2, "end_s": 4.0},)
    recording = Recording("a", str(path), start_s=0.0, end_s=4.0, clips=clips)
    (record,) = extraction.extract([recording], CONFIG)
    assert record.clips[0].end_s == 4.0


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_gap_at_the_end_goes_to_the_end_of_the_track(tmp_path, suffix):
    """The packet before the hole says how long nothing comes: to 5.056 s."""
    path = tmp_path / f"a.{suffix}"
    with av.open(str(CASES / "hole.mp4")) as whole, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(whole.streams.audio[0])
        for packet in whole.demux(whole.streams.audio[0]):
            if packet.pts is not None and packet.pts * packet.time_base < 3:
                packet.stream = stream
                out.mux(packet)
    for start_s, end_s in ((0, 9), (0, 4), (3.5, 4.5), (4.5, 6), (5, 5.5)):
        waveform = media.read_waveform(path, RATE, start_s, end_s)
        assert len(waveform) == round((min(end_s, 5.056) - start_s) * RATE)
    assert listening.is_silent(str(path), 3.1) and not listening.is_silent(str(path))


def test_two_files_in_one_are_read_to_the_end():
    path = CASES / "joined.mp3"
    assert len(media.read_waveform(path)) / RATE == pytest.approx(8, abs=0.1)
    assert media.duration_s(path) == pytest.approx(8, abs=0.1)


def test_a_note_is_told_once(spoken):
    notes: list[Note] = []
    for _ in range(2):
        for _ in media.decode(spoken / "opposite.mkv", RATE, notes=notes):
            pass
    assert len(notes) == 1


def test_a_header_does_not_decide_what_extraction_takes(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros(15_000) + 0.1, pictures=False)
    content = bytearray(path.read_bytes())
    content[24:28] = (1).to_bytes(4, "little")
    path.write_bytes(content)
    image = tmp_path / "a.png"
    media.write_image(str(image), made_media.numbered(1))
    recording = Recording("a", str(path), image=str(image))
    (failure,) = extraction.extract([recording], CONFIG)
    assert "a rate of 1 Hz, expected 4000 to 384000" in failure["reason"]
    assert os.path.basename(failure["media"]) == "a.wav"
