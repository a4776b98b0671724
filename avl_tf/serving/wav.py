"""WAV files in TF ops: encoded bytes in, a mono waveform or a reason out.

What is read: RIFF and RF64; PCM of 8, 16, 24 and 32 bits, float of 32 and 64, a-law,
mu-law, each also by an extensible header; chunks of any kind and order before the
sound, of odd sizes too; a stream whose sizes were never filled in, to the end of the
file. The work is in proportion to the bytes that are there, whatever a header says.

Source: Microsoft and IBM, Multimedia Programming Interface and Data Specifications
    1.0; Microsoft, Multiple Channel Audio Data and WAVE Files; EBU Tech 3306 (RF64).
"""

import tensorflow as tf

from avl_tf import audio, media
from avl_tf.serving.faults import first_reason, worded
from avl_tf.serving.wav_samples import FORMATS, mixed

# An hour of sound is longer than a clip ever is.
MAX_SECONDS = 3600
_MAX_CHUNKS = 1000
# What a user can do about a file that is not read.
_ADVICE = ": convert it by ffmpeg -i FILE -ac 1 -ar 16000 NEW.wav"
# From here on up a size stands for one that was not known: a stream's is 0xFFFFFFFF,
# 0x7FFFFFFF or a little less than either.
_UNKNOWN_SIZE = 0x7FFFF000
_EXTENSIBLE = 0xFFFE
# What stands right behind a chunk of an odd size if its writer did not pad it.
_UNPADDED = "data|fmt |fact|LIST|PEAK|bext|cue |smpl|id3 "


def decode(content: tf.Tensor, sample_rate: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a WAV file to a mono waveform.

    Channels are averaged; if they cancel each other (opposite phase), the loudest one
    is taken. The log-mel is relative, so formats finer than 16 bits whose peak is above
    2 or below 1/32 are scaled by a power of two to a peak between 1/2 and 1.

    Args:
        content: string scalar, the bytes of the file.
        sample_rate: of the result, Hz.

    Returns:
        float32 [S], and a string scalar: why there is no waveform, or empty. With a
        reason S is 0.
    """
    header, reason = _read_header(content)
    nothing = tf.zeros([0])
    waveform = tf.cond(
        tf.equal(reason, ""),
        lambda: _read_samples(content, header, sample_rate),
        lambda: nothing,
    )
    reason = first_reason(
        (tf.not_equal(reason, ""), reason),
        (tf.size(waveform) == 0, "its data chunk holds no sound"),
        (
            ~tf.reduce_all(tf.math.is_finite(waveform)),
            "a sample is not finite (NaN or infinite)",
        ),
    )
    return tf.cond(tf.equal(reason, ""), lambda: waveform, lambda: nothing), reason


def _read_header(content: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Finds format and data: whole numbers int64 by name, and why it cannot be read."""
    length = tf.cast(tf.strings.length(content), tf.int64)
    # Sliced, because a position beyond the end is an error.
    magic = tf.strings.substr(content, 0, 4)
    kind = tf.strings.substr(content, tf.minimum(length, 8), 4)
    found = _find_chunks(content, length)
    start, size = found["data"], found["data_size"]
    there = tf.maximum(length - start, 0)
    whole = found["data_size_64"]
    size = tf.where((size == 0xFFFFFFFF) & (whole > 0), whole, size)
    unknown = (size == 0) & ~_is_chunk(content, start, there)
    unknown |= (size >= _UNKNOWN_SIZE) & (size > there)

    # Zeros stand for fields that a short header does not have.
    fields_at = tf.maximum(found["fmt"], 0)
    text = tf.strings.substr(content, fields_at, tf.minimum(found["fmt_size"], 40))
    text = tf.strings.substr(tf.strings.join([text, b"\0" * 40]), 0, 40)
    fields = tf.cast(tf.io.decode_raw(text, tf.uint16), tf.int64)
    tag = tf.where(fields[0] == _EXTENSIBLE, fields[12], fields[0])
    n_channels, rate = fields[1], fields[2] + 65536 * fields[3]
    # Fewer bits stand at the upper end of whole bytes.
    block, bits = fields[6], fields[7]
    n_bytes = (bits + 7) // 8
    known = tf.constant([format_[:2] for format_ in FORMATS], tf.int64)
    same = tf.reduce_all(known == tf.stack([tag, n_bytes]), axis=1)
    n_frames = tf.where(unknown, there, size) // tf.maximum(block, 1)
    header = {
        "format": tf.argmax(tf.cast(same, tf.int32)),
        "n_channels": n_channels,
        "rate": rate,
        "start": start,
        "n_bytes": n_frames * block,
    }

    lowest, highest = media.MIN_RATE_HZ, media.MAX_RATE_HZ
    reason = first_reason(
        (tf.equal(magic, "RIFX"), f"a big-endian WAV file (RIFX) is not read{_ADVICE}"),
        (
            ~tf.reduce_any(magic == ["RIFF", "RF64", "BW64"]) | (kind != "WAVE"),
            f"not a WAV file{_ADVICE}",
        ),
        (start < 0, f"it has no data chunk: cut off, or {_MAX_CHUNKS} come before it"),
        (found["fmt"] < 0, "it has no fmt chunk before its data"),
        (found["fmt_size"] < 16, "its fmt chunk is cut off"),
        (
            ~tf.reduce_any(same),
            worded("format ", tag, " of ", bits, f" bits is not read{_ADVICE}"),
        ),
        (n_channels < 1, "it has no channels"),
        (
            block != n_channels * n_bytes,
            worded(
                "its header says ", block, " bytes for ", n_channels, " samples of ",
                bits, " bits",
            ),
        ),
        (
            (rate < lowest) | (rate > highest),
            worded(
                "its rate is ", rate, f" Hz, expected {lowest} to {highest}{_ADVICE}"
            ),
        ),
        (
            ~unknown & (size > there),
            worded("cut off: ", there, " of its ", size, " bytes of sound are there"),
        ),
        (
            n_frames > rate * MAX_SECONDS,
            f"it is longer than {MAX_SECONDS} s",
        ),
    )  # fmt: skip
    return header, reason


def _find_chunks(content: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
    """Walks the chunks up to the data: where they begin, -1 for none, and sizes."""
    names = ("n", "position", "fmt", "fmt_size", "data", "data_size", "data_size_64")
    first = [0, 12, -1, 0, -1, 0, 0]

    def search_on(n, position, fmt, fmt_size, data, *_):
        return (data < 0) & (position + 8 <= length) & (n < _MAX_CHUNKS)

    def step(n, position, fmt, fmt_size, data, data_size, data_size_64):
        name = tf.strings.substr(content, position, 4)
        size = _unsigned(content, position + 4, 4)
        start = position + 8
        is_fmt, is_data = tf.equal(name, "fmt "), tf.equal(name, "data")
        has_64 = tf.equal(name, "ds64") & (start + 16 <= length)
        behind = start + size
        follower = tf.strings.substr(content, tf.minimum(behind, length), 4)
        padded = ~tf.strings.regex_full_match(follower, _UNPADDED)
        return (
            n + 1,
            # Chunks of an odd size should be padded.
            behind + tf.where(padded, size % 2, 0),
            tf.where(is_fmt, start, fmt),
            tf.where(is_fmt, tf.minimum(size, length - start), fmt_size),
            tf.where(is_data, start, data),
            tf.where(is_data, size, data_size),
            tf.cond(
                has_64,
                lambda: _unsigned(content, start + 8, 8),
                lambda: data_size_64,
            ),
        )

    values = tf.while_loop(
        search_on, step, [tf.constant(value, tf.int64) for value in first]
    )
    return dict(zip(names, values, strict=True))


def _is_chunk(content: tf.Tensor, start: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    """Whether a chunk begins there: then the data chunk before it is truly empty."""

    def look():
        name = tf.strings.substr(content, start, 4)
        named = tf.strings.regex_full_match(name, "[A-Za-z][A-Za-z0-9]{2}[A-Za-z0-9 ]")
        return named & (_unsigned(content, start + 4, 4) <= there - 8)

    return tf.cond((start >= 0) & (there >= 8), look, lambda: False)


def _unsigned(content: tf.Tensor, position: tf.Tensor, n_bytes: int) -> tf.Tensor:
    """A little-endian number as int64; one of 8 bytes above 2^63 comes out negative."""
    text = tf.strings.substr(content, position, n_bytes)
    parts = tf.cast(tf.io.decode_raw(text, tf.uint16), tf.int64)
    return tf.reduce_sum(parts * [65536**i for i in range(n_bytes // 2)])


def _read_samples(
    content: tf.Tensor, header: dict[str, tf.Tensor], sample_rate: int
) -> tf.Tensor:
    data = tf.strings.substr(content, header["start"], header["n_bytes"])
    readers = [lambda read=read: read(data) for _, _, read in FORMATS]
    samples = tf.switch_case(tf.cast(header["format"], tf.int32), readers)
    samples = tf.reshape(samples, tf.stack([-1, header["n_channels"]]))
    waveform = tf.cond(
        header["n_channels"] > 1, lambda: mixed(samples), lambda: samples[:, 0]
    )
    return tf.cond(
        header["rate"] == sample_rate,
        lambda: waveform,
        lambda: audio.resample(waveform, header["rate"], sample_rate),
    )
