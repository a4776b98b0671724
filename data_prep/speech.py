r"""Adds to each clip of a manifest the seconds of speech in it, speech_s.

    python -m data_prep.speech --manifest=mine.jsonl --out=mine_speech.jsonl
    python -m avl_tf.evaluate --run_dir=runs/mine --evaluate=mine=data/mine/records \
        --manifest=mine=mine_speech.jsonl --sounds=speech_s=0 --slices=speech_s=1,5

In: a manifest of any corpus, and its media. What finds speech is what data_prep.build
cuts clips with: voice activity, no words.
Out: the same lines; each clip has speech_s, which is among the labels of a recording
without a clip list. Where the sound cannot be read it is left out, and the exit status
is 1.
"""

from absl import flags, logging

from avl_tf import json_text, local_paths, program
from avl_tf import manifest as manifests
from avl_tf.errors import MediaError, UserError
from avl_tf.wording import counted
from data_prep.builder.build_config import PAUSES_S

_MANIFEST = flags.DEFINE_string("manifest", None, "Manifest to be read.", required=True)
_OUT = flags.DEFINE_string("out", None, "Manifest to be written.", required=True)
_SEGMENTER = flags.DEFINE_enum(
    "segmenter", "silero", list(PAUSES_S), "What finds speech, as in data_prep.build."
)


def main() -> None:
    local_paths.require_file("manifest", _MANIFEST.value)
    manifests.require_local(_OUT.value)
    recordings = manifests.read_manifest(_MANIFEST.value)
    with open(_MANIFEST.value, encoding="utf-8-sig") as file:
        lines = [json_text.load(one, _MANIFEST.value) for one in file if one.strip()]

    from data_prep.builder import speech_spans

    n_failed = 0
    for line, recording in zip(lines, recordings, strict=True):
        for name in ("media", "image"):
            if path := getattr(recording, name):
                line[name] = manifests.path_in_manifest(path, _OUT.value)
        try:
            spans = speech_spans.find(recording, _SEGMENTER.value)
        except (MediaError, OSError) as error:
            n_failed += 1
            logging.warning("%s: no speech_s: %s", recording.id, error)
        else:
            speech_spans.note(line, spans)
    manifests.write_manifest(_OUT.value, lines)
    print(f"{_OUT.value}: {counted(len(lines), 'recording')}.")
    if n_failed:
        raise UserError(
            f"{n_failed} of {counted(len(lines), 'recording')} cannot be heard, see "
            "above, and have no speech_s."
        )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
