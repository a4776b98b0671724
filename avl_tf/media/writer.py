"""Arrays into media files: MP4, M4A, WAV, PNG and JPEG, whole or not at all.

A run that breaks off leaves no half file. The same input gives the same bytes.
"""

import itertools
import math
import os
import wave
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np

from avl_tf.errors import UserError
from avl_tf.settings.audio import SAMPLE_RATE
from avl_tf.whole_files import replacing

_PIXEL_FORMATS = {3: "rgb24", 4: "rgba"}
_KEYFRAME_EVERY_S = 3
_JPEG_QUANTISER = 5
_BITEXACT = {"fflags": "+bitexact"}
# x264's routines for AVX-512 read memory that nothing has written: once in some hundred
# videos a packet differed. Those for AVX, which TensorFlow asks for too, give the same
# bytes as they do otherwise.
_H264 = {
    "preset": "veryfast",
    "crf": "20",
    "flags": "+bitexact",
    "x264-params": "asm=AVX",
}
# Without noise substitution, which decodes differently after every seek.
_AAC = {"b": "64000", "aac_pns": "0", "flags": "+bitexact"}


def write_video(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    fps: float,
    waveform: np.ndarray,
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Writes frames and sound as MP4 (H.264 and AAC).

    Args:
        path: where to; a file that is there is replaced.
        frames: uint8 [H, W, 3], RGB, all of one size with even sides; of an iterator
            one frame is held at a time.
        fps: frames a second.
        waveform: float32 [S], mono, in [-1, 1]; what is louder is clipped.
        sample_rate: Hz, one that AAC knows (8000, 16000, 22050, 44100, 48000, ...).

    Raises:
        ValueError: no frame, one of another size, odd sides, a waveform that is not [S]
            or not finite, or a rate that cannot be encoded.
    """
    if not 0 < fps < math.inf:
        raise UserError(f"fps is {fps}, expected a number above 0.")
    sound = _for_aac(waveform, sample_rate)
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise UserError(f"{path}: no frame to write.")
    height, width = first.shape[:2]
    if height % 2 or width % 2 or first.shape[2:] != (3,):
        raise UserError(
            f"{path}: a frame has shape {first.shape}, expected [H, W, 3] with even "
            "height and width."
        )
    rate = Fraction(fps).limit_denominator(1001)
    with (
        replacing(path) as temporary,
        av.open(f"file:{temporary}", "w", format="mp4", options=_BITEXACT) as container,
    ):
        video = container.add_stream("libx264", rate, _H264, width=width, height=height)
        video.codec_context.thread_count = 1
        video.codec_context.gop_size = max(1, round(_KEYFRAME_EVERY_S * rate))
        audio = container.add_stream("aac", sample_rate, _AAC, layout="mono")
        written = 0
        for index, image in enumerate(itertools.chain([first], frames)):
            if image.shape != first.shape:
                raise UserError(
                    f"{path}: frame {index} has shape {image.shape}, the first one "
                    f"{first.shape}."
                )
            picture = to_frame(image)
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(video.encode(picture))
            # Sound in step with the picture, so that neither is kept in memory.
            until = int((index + 1) / rate * sample_rate)
            container.mux(_encode(audio, sound, written, until))
            written = until
        container.mux(_encode(audio, sound, written, len(sound)))
        container.mux(video.encode())
        container.mux(audio.encode())


def write_sound(
    path: str | os.PathLike, waveform: np.ndarray, sample_rate: int = SAMPLE_RATE
) -> None:
    """Writes sound alone as M4A (AAC), which browsers play.

    Args:
        path: where to; a file that is there is replaced.
        waveform, sample_rate: as of write_video; S > 0.

    Raises:
        ValueError: as write_video.
    """
    sound = _for_aac(waveform, sample_rate)
    with (
        replacing(path) as temporary,
        av.open(f"file:{temporary}", "w", format="mp4", options=_BITEXACT) as container,
    ):
        audio = container.add_stream("aac", sample_rate, _AAC, layout="mono")
        container.mux(_encode(audio, sound, 0, len(sound)))
        container.mux(audio.encode())


def write_wav(path: str | os.PathLike, waveform: np.ndarray, sample_rate: int) -> None:
    """Writes a waveform as 16-bit WAV; read_waveform returns the same samples.

    Args:
        path: where to; a file that is there is replaced.
        waveform: float32 [S], mono, in [-1, 1]; what is louder is clipped.
        sample_rate: Hz.

    Raises:
        ValueError: waveform is not [S] or not finite.
    """
    samples = _to_int16(waveform)
    with replacing(path) as temporary, wave.open(temporary, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes an image as PNG, or as JPEG to a path that ends in .jpg.

    Args:
        path: where to; a file that is there is replaced.
        image: uint8 [H, W, 3] (RGB) or, for PNG only, [H, W, 4] (RGBA).

    Raises:
        ValueError: image is of another shape or type.
    """
    frame, codec = to_frame(image), "png"
    if os.fspath(path).endswith(".jpg"):
        if frame.format.name != "rgb24":
            raise UserError(f"{path}: a JPEG has no alpha, expected uint8 [H, W, 3].")
        frame, codec = frame.reformat(format="yuvj420p"), "mjpeg"
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt, encoder.time_base = frame.format.name, Fraction(1)
    encoder.thread_count = 1
    encoder.qmin = encoder.qmax = _JPEG_QUANTISER
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for packet in encoder.encode(frame) + encoder.encode():
            file.write(bytes(packet))


def to_frame(image: np.ndarray) -> av.VideoFrame:
    """Makes a PyAV frame of uint8 [H, W, 3 or 4]; ValueError for anything else."""
    if (
        image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] not in _PIXEL_FORMATS
        or not image.size
    ):
        raise UserError(
            f"an image is {image.dtype} {image.shape}, expected uint8 [H, W, 3 or 4]."
        )
    pixels = _PIXEL_FORMATS[image.shape[2]]
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), pixels)


def _for_aac(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """A waveform in 16 bits, float32 [S]; ValueError if AAC does not know the rate."""
    rates = av.Codec("aac", "w").audio_rates or []
    if sample_rate not in rates:
        raise UserError(f"sample_rate is {sample_rate}, AAC knows {sorted(rates)}.")
    return _to_int16(waveform).astype(np.float32) / 32768


def _encode(
    audio: av.AudioStream, sound: np.ndarray, start: int, end: int
) -> list[av.Packet]:
    """Encodes the samples from start to end (both clipped to the sound)."""
    samples = sound[np.newaxis, start:end]
    if not samples.size:
        return []
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "flt", "mono")
    frame.sample_rate = audio.codec_context.sample_rate
    frame.pts, frame.time_base = start, Fraction(1, frame.sample_rate)
    return audio.encode(frame)


def _to_int16(waveform: np.ndarray) -> np.ndarray:
    if waveform.ndim != 1 or not np.isfinite(waveform).all():
        raise UserError(
            f"a waveform has shape {waveform.shape}, expected [S] of finite numbers."
        )
    return np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)
