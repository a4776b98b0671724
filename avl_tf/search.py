"""Finds the moments of videos that fit a spoken query, in an index of avl_tf.index.

    python -m avl_tf.search --index_dir=index --audio=query.wav

Prints a table: rank, file, span, score, and the expected precision of such a score if
the index is calibrated. --json prints a list of hits instead, and nothing else:
rank, recording_id, media, start_s, end_s, score and more. --video and --image find what
was said of such pictures, --output=audio what was said alike.
"""

import sys

from absl import flags

from avl_tf import local_paths, program, settings

_INDEX_DIR = flags.DEFINE_string("index_dir", None, "The index.", required=True)
_AUDIO = flags.DEFINE_string("audio", None, "Spoken query: a file with sound.")
_VIDEO = flags.DEFINE_string("video", None, "Query: a video, to find its narration.")
_IMAGE = flags.DEFINE_string("image", None, "Query: an image.")
_MICROPHONE = flags.DEFINE_boolean(
    "microphone", False, "Spoken query: record it now, until Enter is pressed."
)
_RECORD_S = settings.define_float(
    "record_s", 10.0, "With --microphone: seconds at most.", 0.5, 600.0
)
_OUTPUT = flags.DEFINE_enum(
    "output",
    None,
    ["video", "audio"],
    "Find by what is seen or by what is said; video for a spoken query, audio for a "
    "video or an image.",
)
_N = flags.DEFINE_integer("n", 10, "Moments at most.", 1, 1000)
_RERANK = flags.DEFINE_boolean(
    "rerank",
    True,
    "Rank the best again by the steps of speech and pictures, and narrow the spans.",
)
_LANGUAGE = flags.DEFINE_string(
    "language", "und", "Of the query, for a model of several languages (es, ro ...)."
)
_MODEL = flags.DEFINE_string(
    "model", "", "Where the index's model is now, if it was moved."
)
_WEIGHTS_2D = flags.DEFINE_string(
    "weights_2d", "", "Weights of the 2-D CNN, to embed a video: a .pth."
)
_WEIGHTS_3D = flags.DEFINE_string("weights_3d", "", "The same of the 3-D CNN.")
_ERROR_RATE = settings.define_float(
    "error_rate",
    0.1,
    "Of queries like the validation clips that fit nothing, so many at most are called "
    "a match.",
    0.001,
    0.5,
)
_JSON = flags.DEFINE_boolean("json", False, "Print the hits as JSON, nothing else.")
_QUERIES = ("audio", "video", "image", "microphone")
program.require_one(*_QUERIES)


def main() -> None:
    for name in _QUERIES[:3]:
        local_paths.require_file(name, flags.FLAGS[name].value)
    local_paths.require_folder(_INDEX_DIR.value, "not an index of avl_tf.index")

    from avl_tf.commands import searching

    given = [name for name in _QUERIES if flags.FLAGS[name].value]
    by = "audio" if given == ["microphone"] else given[0]
    searching.search(
        searching.Query(
            index_dir=_INDEX_DIR.value,
            source=None if given == ["microphone"] else flags.FLAGS[by].value,
            by=by,
            output=_OUTPUT.value or ("video" if by == "audio" else "audio"),
            language=_LANGUAGE.value,
            n=_N.value,
            rerank=_RERANK.value,
            record_s=_RECORD_S.value,
        ),
        model=_MODEL.value,
        weights_2d=_WEIGHTS_2D.value,
        weights_3d=_WEIGHTS_3D.value,
        error_rate=_ERROR_RATE.value,
        as_json=_JSON.value,
        out=sys.stdout,
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
