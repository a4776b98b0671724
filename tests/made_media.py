"""Media files of known content, made with PyAV.

Frames carry their own number as eight black and white stripes; sound carries a chirp
whose place a correlation finds to the sample.
"""

from fractions import Fraction

import av
import numpy as np

from avl_tf import media

RATE = 48000


def numbered(number, height=64, width=96):
    """A frame that shows `number` (below 256) in binary, as eight stripes."""
    bits = [255 * (number >> bit & 1) for bit in range(8)]
    stripes = np.repeat(np.array(bits, np.uint8), -(-width // 8))[:width]
    return np.broadcast_to(stripes[None, :, None], (height, width, 3)).copy()


def read_number(frame):
    width = frame.shape[1]
    centres = [width * (2 * bit + 1) // 16 for bit in range(8)]
    rows = slice(frame.shape[0] // 4, 3 * frame.shape[0] // 4)
    return sum(int(frame[rows, x].mean() > 128) << bit for bit, x in enumerate(centres))


def read_numbers(path, *args, **kwargs):
    return [read_number(frame) for frame in media.iter_frames(path, *args, **kwargs)]


def sine(seconds, amplitude=0.5, rate=RATE, hz=440.0):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def chirp(rate):
    """0.2 s that correlate with nothing but themselves."""
    time = np.arange(rate // 5) / rate
    return 0.5 * np.hanning(len(time)) * np.sin(2 * np.pi * (500 + 7000 * time) * time)


def with_chirp(seconds, at_s, rate=RATE):
    waveform = np.zeros(round(seconds * rate))
    start = round(at_s * rate)
    waveform[start : start + rate // 5] = chirp(rate)
    return waveform


def find_chirp(waveform, rate=16000):
    return np.argmax(np.correlate(waveform, chirp(rate), "valid")) / rate


def level(waveform):
    """Amplitude of the sine in the middle of a waveform."""
    middle = waveform[len(waveform) // 4 : -len(waveform) // 4]
    return np.sqrt(2 * np.mean(np.square(middle, dtype=np.float64)))


def noise(seed=0, height=64, width=96):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def make_media(
    path,
    frames=(),
    sound=None,
    *,
    fps=25,
    pts=None,
    video_codec="libx264",
    video_options=None,
    pixels="yuv420p",
    gop=25,
    rotation=None,
    matrix=None,
    pixel_shape=None,
    audio_codec="aac",
    audio_options=None,
    layout="stereo",
    rate=RATE,
    sound_start_s=0.0,
    sound_gap=None,
    options=None,
):
    """Writes frames and sound ([S], or [channels, S]) in the format of the suffix.

    `pts` are the frames' times in 1/1000 s; `sound_gap` is (at_s, length_s): a jump in
    the sound's time stamps.
    """
    frames = list(frames)
    with av.open(str(path), "w", options=options or {}) as container:
        video = audio = None
        if frames:
            height, width = frames[0].shape[:2]
            video = container.add_stream(video_codec, fps, dict(video_options or {}))
            video.width, video.height, video.pix_fmt = width, height, pixels
            video.codec_context.gop_size = gop
            video.codec_context.thread_count = 1
            if pts is not None:
                video.codec_context.time_base = Fraction(1, 1000)
            if pixel_shape:
                video.codec_context.sample_aspect_ratio = pixel_shape
            if matrix is not None:
                video.set_display_matrix(matrix)
            if rotation is not None:
                video.set_display_rotation(rotation)
        if sound is not None:
            n_channels = av.AudioLayout(layout).nb_channels
            # Without noise substitution: what that decodes to depends on what came
            # before, so that no part of a file would equal that part of the whole.
            settings = {"b": str(96000 * n_channels), "aac_pns": "0"}
            if audio_codec.startswith("pcm"):
                settings = {}
            settings |= audio_options or {}
            audio = container.add_stream(audio_codec, rate, settings, layout=layout)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = index if pts is None else pts[index]
            frame.time_base = Fraction(1, fps) if pts is None else Fraction(1, 1000)
            container.mux(video.encode(frame))
        if video:
            container.mux(video.encode())
        if audio:
            sound = np.atleast_2d(np.asarray(sound, np.float32))
            sound = np.broadcast_to(sound, (n_channels, sound.shape[1]))
            for start in range(0, sound.shape[1], 1024):
                part = np.ascontiguousarray(sound[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(part, "fltp", layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(sound_start_s * rate) + start
                if sound_gap and start >= sound_gap[0] * rate:
                    frame.pts += round(sound_gap[1] * rate)
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def cut(source, path, share):
    content = source.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    return path
