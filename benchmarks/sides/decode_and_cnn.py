"""FFmpeg on all frames, and the CNN, and nothing around them.

Sound goes to 16 kHz mono, every second's first frame to RGB and the CNN's size.
Settings: video, whose frame rate is whole; backbone; found: an .npz.
"""

import time

import av
import numpy as np
from av.video.reformatter import Interpolation

from avl_tf import extraction
from avl_tf.backbones import load_backbone
from benchmarks.side import Work, save_once, serve

_BATCH_SIZE = 4


def prepare(settings: dict) -> Work:
    extraction.limit_threads(1)
    backbone = load_backbone(settings["backbone"])

    def work():
        started = time.process_time()
        frames = _decode(settings["video"], backbone.short_side)
        decode_s = time.process_time() - started
        features = np.concatenate(
            [
                backbone.network(np.stack(frames[start : start + _BATCH_SIZE])).numpy()
                for start in range(0, len(frames), _BATCH_SIZE)
            ]
        )
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        save_once(settings["found"], features_2d=features / norms)
        return {"decode_s": decode_s}

    return work


def _decode(path: str, short_side: int) -> list[np.ndarray]:
    scaling = (
        Interpolation.BICUBIC
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP
        | Interpolation.BITEXACT
    )
    resampler = av.AudioResampler("s16", "mono", 16000)
    frames, n_seen = [], 0
    with av.open(path) as container:
        fps = round(container.streams.video[0].average_rate)
        for stream in container.streams:
            stream.codec_context.thread_count = 1
        for packet in container.demux():
            for frame in packet.decode():
                if packet.stream.type == "audio":
                    resampler.resample(frame)
                    continue
                if n_seen % fps == 0:
                    width = frame.width * short_side // frame.height
                    scaled = frame.reformat(
                        width, short_side, "rgb24", interpolation=scaling, threads=1
                    )
                    frames.append(scaled.to_ndarray())
                n_seen += 1
    return frames


if __name__ == "__main__":
    serve(prepare)
