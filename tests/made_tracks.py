"""Media files of several tracks and programs, each sound a tone of its own."""

import io
import zlib
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.stream import Disposition

# What a container takes, where that is not H.264 and AAC.
CODECS = {
    ".webm": ("libvpx", "libopus", 48000),
    ".avi": ("mpeg4", "mp3", 44100),
    ".m2ts": ("libx264", "ac3", 48000),
}


class Tone(NamedTuple):
    """An audio track."""

    hz: float
    language: str = ""
    disposition: Disposition = Disposition(0)
    seconds: float = 8


class Video(NamedTuple):
    """A video track of n_frames."""

    n_frames: int = 200
    width: int = 64
    codec: str = ""
    disposition: Disposition = Disposition(0)


_VIDEOS = (Video(),)


def make_tracks(path, tones, videos=_VIDEOS, options=None, target=None):
    """Writes tracks in the format of the path's suffix; 25 frames a second."""
    usual = "libx264", "aac", 16000
    video_codec, audio_codec, rate = CODECS.get(path.suffix, usual)
    muxer = {"format": "mpegts"} if target else {}
    with av.open(target or str(path), "w", options=options or {}, **muxer) as container:
        streams = []
        for video in videos:
            stream = container.add_stream(video.codec or video_codec, 25)
            stream.width, stream.height = video.width, video.width * 3 // 4
            stream.pix_fmt = "yuvj420p" if video.codec == "mjpeg" else "yuv420p"
            stream.disposition = video.disposition
            streams.append((stream, _frames(video)))
        for tone in tones:
            stream = container.add_stream(audio_codec, rate, layout="mono")
            if tone.language:
                stream.metadata["language"] = tone.language
            if tone.disposition:
                stream.disposition = tone.disposition
            streams.append((stream, _sound(tone, rate, stream)))
        packets = []
        for stream, frames in streams:
            packets += [packet for frame in frames for packet in stream.encode(frame)]
            packets += stream.encode()
        container.mux(sorted(packets, key=lambda one: one.dts * one.time_base))
    return str(path)


def make_programs(path, programs):
    """Writes an MPEG-TS of several programs, each (tones, videos)."""
    parts, entries = [], b""
    for number, (tones, videos) in enumerate(programs, 1):
        target = io.BytesIO()
        options = {
            "mpegts_start_pid": str(256 * number + 16),
            "mpegts_pmt_start_pid": str(256 * number),
            "mpegts_service_id": str(number),
        }
        make_tracks(path, tones, videos, options, target)
        content = target.getvalue()
        packets = [content[at : at + 188] for at in range(0, len(content), 188)]
        parts.append([one for one in packets if _pid(one) not in (0, 17)])
        for field in (number, 0xE000 | 256 * number):
            entries += field.to_bytes(2, "big")
    section = b"\x00" + (0xB000 | (len(entries) + 9)).to_bytes(2, "big")
    section += b"\x00\x01\xc1\x00\x00" + entries
    section += _crc(section).to_bytes(4, "big")
    n_steps, made = max(map(len, parts)), []
    for step in range(n_steps):
        if step % 100 == 0:
            header = b"\x47\x40\x00" + bytes([0x10 | step // 100 % 16]) + b"\x00"
            made.append((header + section).ljust(188, b"\xff"))
        for part in parts:
            n = len(part)
            made += part[step * n // n_steps : (step + 1) * n // n_steps]
    path.write_bytes(b"".join(made))
    return str(path)


def heard_hz(waveform, rate=16000):
    """The tone of the second second of a waveform."""
    second = waveform[rate : 2 * rate]
    return int(np.argmax(np.abs(np.fft.rfft(second))) * rate / len(second))


def _frames(video):
    for number in range(video.n_frames):
        height = video.width * 3 // 4
        grey = np.full((height, video.width, 3), 10 + number % 200, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey, "rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        yield frame


def _sound(tone, rate, stream):
    time = np.arange(round(tone.seconds * rate)) / rate
    sound = (0.3 * np.sin(2 * np.pi * tone.hz * time)).astype(np.float32)
    size = stream.codec_context.frame_size or 1024
    for start in range(0, len(sound), size):
        part = sound[np.newaxis, start : start + size]
        frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
        frame.sample_rate, frame.pts = rate, start
        frame.time_base = Fraction(1, rate)
        yield frame


def _pid(packet):
    return (packet[1] & 31) << 8 | packet[2]


def _crc(content):
    """CRC-32/MPEG-2: zlib's, with the bits the other way round."""
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in content)
    return int(f"{zlib.crc32(turned) ^ 0xFFFFFFFF:032b}"[::-1], 2)
