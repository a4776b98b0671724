"""The WAV reader of the export: the headers there are, and what is told of the rest."""

import functools
import io
import struct
import time
import wave

import av
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import audio
from avl_tf.audio import AudioConfig
from avl_tf.serving import wav

RATE = 16000
UNKNOWN = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF024)
EXTENSIBLE = 0xFFFE


@functools.cache
def _graph():
    return tf.function(
        lambda content: wav.decode(content, RATE),
        input_signature=[tf.TensorSpec([], tf.string)],
    ).get_concrete_function()


def _decode(content):
    waveform, reason = _graph()(tf.constant(content))
    return waveform.numpy(), reason.numpy().decode()


def _read(content):
    waveform, reason = _decode(content)
    assert reason == "" and waveform.size and waveform.dtype == np.float32
    return waveform


def _reason(content):
    waveform, reason = _decode(content)
    assert reason and not waveform.size
    return reason


def _chunk(name, body, size=None):
    padding = b"\0" * (len(body) % 2)
    return (
        name + struct.pack("<I", len(body) if size is None else size) + body + padding
    )


def _fmt(tag, bits, n_channels=1, rate=RATE, block=None):
    """The fmt chunk's body; with EXTENSIBLE, tag is a pair of it and the true one."""
    tag, true_tag = tag if isinstance(tag, tuple) else (tag, None)
    block = n_channels * ((bits + 7) // 8) if block is None else block
    per_second = rate * block % 2**32
    body = struct.pack("<HHIIHH", tag, n_channels, rate, per_second, block, bits)
    if true_tag is not None:
        guid = struct.pack("<H", true_tag) + bytes.fromhex(
            "000000001000800000aa00389b71"
        )
        body += struct.pack("<HHI", 22, bits, 3) + guid
    return body


def _wav(data, tag=1, bits=16, size=None, riff=None, before=b"", after=b"", **fmt):
    chunks = b"WAVE" + before + _chunk(b"fmt ", _fmt(tag, bits, **fmt))
    chunks += _chunk(b"data", data, size) + after
    return b"RIFF" + struct.pack("<I", len(chunks) if riff is None else riff) + chunks


def _noise(n_samples=4001, peak=0.4):
    return np.random.default_rng(3).uniform(-peak, peak, n_samples)


def _int16(waveform):
    return np.round(np.asarray(waveform) * 32768).astype("<i2")


def _three_bytes(waveform):
    steps = np.round(np.asarray(waveform) * 2**23).astype("<i4")
    return steps.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _from_ffmpeg(codec, samples):
    """What FFmpeg encodes int16 to, and decodes again to int16."""
    content = io.BytesIO()
    with av.open(content, "w", "wav") as out:
        stream = out.add_stream(codec, RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], "s16", "mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    content.seek(0)
    with av.open(content) as media:
        decoded = [frame.to_ndarray()[0] for frame in media.decode(audio=0)]
    return content.getvalue(), np.concatenate(decoded)


@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_16_bits_are_to_the_bit_what_tensorflow_reads(n_channels):
    samples = _int16(_noise(6000))
    content = io.BytesIO()
    with wave.open(content, "wb") as out:
        out.setparams((n_channels, 2, RATE, 0, "NONE", ""))
        out.writeframes(samples.tobytes())
    channels, _ = tf.audio.decode_wav(content.getvalue())
    expected = tf.reduce_mean(channels, axis=1).numpy()
    assert np.array_equal(_read(content.getvalue()), expected)


@pytest.mark.parametrize("tag", [1, (EXTENSIBLE, 1)])
@pytest.mark.parametrize(
    "bits, data, error",
    [
        (8, (np.round(_noise() * 128) + 128).astype(np.uint8).tobytes(), 1 / 256),
        (16, _int16(_noise()).tobytes(), 2**-16),
        (24, _three_bytes(_noise()), 2**-24),
        (20, _three_bytes(_noise()), 2**-24),
        (32, np.round(_noise() * 2**31).astype("<i4").tobytes(), 2**-24),
    ],
)
def test_whole_numbers_of_every_width_are_read(tag, bits, data, error):
    assert np.abs(_read(_wav(data, tag, bits)) - _noise()).max() <= 1.01 * error


@pytest.mark.parametrize("tag", [3, (EXTENSIBLE, 3)])
@pytest.mark.parametrize("bits, dtype", [(32, "<f4"), (64, "<f8")])
def test_floats_are_read_to_the_bit(tag, bits, dtype):
    found = _read(_wav(_noise().astype(dtype).tobytes(), tag, bits))
    assert np.array_equal(found, _noise().astype(np.float32))


@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw"])
def test_a_law_and_mu_law_are_read_as_ffmpeg_does(codec):
    samples = np.arange(-32768, 32768, 5).astype(np.int16)
    content, decoded = _from_ffmpeg(codec, samples)
    assert np.array_equal(_read(content), decoded / np.float32(32768))
    assert len(np.unique(decoded)) > 250


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s24le", "pcm_s32le", "pcm_f32le"])
def test_what_ffmpeg_writes_is_read(codec):
    content, _ = _from_ffmpeg(codec, _int16(_noise()))
    assert np.abs(_read(content) - _noise()).max() < 0.01


@pytest.mark.parametrize("riff", UNKNOWN)
@pytest.mark.parametrize("size", UNKNOWN)
def test_a_stream_without_sizes_is_read_to_its_end(riff, size):
    samples = _int16(_noise(4000))
    found = _read(_wav(samples.tobytes(), size=size, riff=riff))
    assert np.array_equal(found, samples / np.float32(32768))


def test_a_recorder_that_was_killed_leaves_what_can_be_read():
    """The sizes are those of an empty file, and half a sample stands at the end."""
    samples = _int16(_noise(4000))
    found = _read(_wav(samples.tobytes(), size=0, riff=36, after=b"\1"))
    assert np.array_equal(found, samples / np.float32(32768))


def test_chunks_of_any_kind_are_passed_over():
    samples = _int16(_noise(3001))
    odd = _chunk(b"LIST", b"INFOodd") + _chunk(b"junk", b"") + _chunk(b"\1\2\3\4", b"x")
    content = _wav(samples.tobytes(), before=odd, after=_chunk(b"id3 ", b"data1234"))
    assert np.array_equal(_read(content), samples / np.float32(32768))
    odd_bytes = np.arange(255, dtype=np.uint8).tobytes()
    assert len(_read(_wav(odd_bytes, bits=8, after=_chunk(b"LIST", b"x" * 9)))) == 255


@pytest.mark.parametrize("n", [0, 1, 2])
def test_chunks_whose_padding_is_forgotten_are_passed_over(n):
    samples = _int16(_noise(3001))
    odd = [_chunk(b"xyz ", b"1"), _chunk(b"LIST", b"INFOodd")]
    before = odd[0][: -1 if n == 2 else None] + odd[1][: -1 if n else None]
    content = _wav(samples.tobytes(), before=before)
    assert np.array_equal(_read(content), samples / np.float32(32768))


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_64_bit_sizes_are_read(magic):
    samples = _int16(_noise(3000))
    ds64 = _chunk(b"ds64", struct.pack("<QQQI", 0, samples.nbytes, len(samples), 0))
    content = _wav(samples.tobytes(), size=0xFFFFFFFF, riff=0xFFFFFFFF, before=ds64)
    content = magic + content[4:] + _chunk(b"LIST", b"behind")
    assert np.array_equal(_read(content), samples / np.float32(32768))


def _log_mel(waveform):
    return audio.log_mel(np.asarray(waveform)[np.newaxis], AudioConfig())[0].numpy()


@pytest.mark.parametrize("peak", [1e-30, 1e-4, 0.01, 0.9, 5.0, 32768.0, 3e38])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_the_log_mel_of_floats_does_not_depend_on_their_level(peak, n_channels):
    tone = np.sin(np.arange(RATE) * 0.2)
    data = np.repeat(peak * tone, n_channels).astype("<f4").tobytes()
    found = _log_mel(_read(_wav(data, 3, 32, n_channels=n_channels)))
    assert np.abs(found - _log_mel((0.3 * tone).astype(np.float32))).mean() < 0.5


def test_quiet_24_bits_are_no_quantisation_noise():
    tone = np.sin(np.arange(RATE) * 0.2)
    found = _log_mel(_read(_wav(_three_bytes(1e-4 * tone), 1, 24)))
    assert np.abs(found - _log_mel((0.3 * tone).astype(np.float32))).mean() < 3


@pytest.mark.parametrize("gains", [(1, -1), (1, -0.98), (0.5, 0.5, -1), (-0.4, 0.4)])
def test_of_channels_that_cancel_the_loudest_is_taken(gains):
    channels = np.outer(_noise(RATE), gains)
    loudest = channels[:, np.abs(gains).argmax()]
    data = _int16(channels).tobytes()
    found = _read(_wav(data, n_channels=len(gains)))
    assert np.abs(found - loudest).max() < 2**-15


@pytest.mark.parametrize("gains", [(1, 0), (1, 0.9), (1, -0.4)])
def test_other_channels_are_averaged(gains):
    channels = np.outer(_noise(RATE), gains)
    found = _read(_wav(_int16(channels).tobytes(), n_channels=len(gains)))
    assert np.abs(found - channels.mean(1)).max() < 2**-14


SOUND = _int16(_noise()).tobytes()


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "not a WAV file"),
        (b"RIFF", "not a WAV file"),
        (b"no wav at all, but long enough to be one", "not a WAV file"),
        (b"RIFX" + _wav(SOUND)[4:], "big-endian"),
        (_wav(SOUND)[:12], "no data chunk"),
        (_wav(SOUND)[:30], "no data chunk"),
        (b"RIFF\0\0\0\0WAVE" + _chunk(b"data", SOUND), "no fmt chunk"),
        (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0abcd" + _chunk(b"data", SOUND), "cut off"),
        (_wav(b""), "holds no sound"),
        (_wav(b"\1"), "holds no sound"),
        (_wav(b"", after=_chunk(b"LIST", b"INFO1234")), "holds no sound"),
        (_wav(SOUND[:2], rate=48000), "holds no sound"),
        (_wav(SOUND)[:-2], "cut off: 8000 of its 8002 bytes"),
        (_wav(SOUND, size=2**30), "cut off"),
        (_wav(SOUND, tag=2, bits=4), "format 2 of 4 bits is not read"),
        (_wav(SOUND, tag=85, bits=0), "format 85"),
        (_wav(SOUND, tag=(EXTENSIBLE, 2), bits=16), "format 2"),
        (_wav(SOUND, tag=EXTENSIBLE), "format 0"),
        (_wav(SOUND, tag=3), "format 3 of 16 bits"),
        (_wav(SOUND, bits=64), "format 1 of 64 bits"),
        (_wav(SOUND, n_channels=0), "no channels"),
        (_wav(SOUND, block=0), "0 bytes for 1 samples of 16 bits"),
        (_wav(SOUND, block=4), "4 bytes for 1 samples of 16 bits"),
        (_wav(SOUND, rate=0), "rate is 0 Hz"),
        (_wav(SOUND, rate=1), "rate is 1 Hz, expected 4000 to 384000"),
        (_wav(SOUND, rate=2**31 - 1), "rate is 2147483647 Hz"),
        (_wav(SOUND, rate=2**32 - 1), "rate is 4294967295 Hz"),
        (_wav(b"\0" * 4000 * 3601, bits=8, rate=4000), "longer than 3600 s"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_reason(content, reason):
    assert reason in _reason(content)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_samples_that_are_no_numbers_are_told(value, rate, n_channels):
    samples = _noise(4000)
    samples[1234] = value
    content = _wav(samples.tobytes(), 3, 64, rate=rate, n_channels=n_channels)
    assert "not finite" in _reason(content)


def test_chunks_without_end_are_not_walked():
    _reason(b"")
    started = time.process_time()
    content = b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 1_000_000
    assert "no data chunk" in _reason(content)
    assert time.process_time() - started < 5


def test_a_cut_at_any_byte_of_the_header_is_told():
    content = _wav(SOUND, tag=(EXTENSIBLE, 1), before=_chunk(b"LIST", b"odd"))
    for end in range(90):
        _reason(content[:end])
