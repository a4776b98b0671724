"""The whole path as make demo takes it, a new process each, on a tiny corpus."""

import json

import pytest
import tensorflow as tf
from programs import run_afresh as run

FLAGS = """\
--records={folder}/corpus/{language}/records/train
--audio_widths=8,8,16
--embedding_dim=16
--visual_scale=20
--clip_s=4
--clips_per_recording=8
--batch_size=16
--epochs=1
--evaluation_clip_s=4
"""


@pytest.mark.slow
def test_from_videos_to_the_cascades_table(tmp_path):
    corpus = tmp_path / "corpus"
    done = run(
        "data_prep.stamps",
        f"--out_dir={corpus}",
        "--synthetic",
        "--languages=es,ro",
        "--train_videos=es:3,ro:2",
        "--val_videos=0",
        "--eval_videos=1",
        "--video_s=12",
        "--clip_s=4",
    )
    assert done.returncode == 0, done.stderr
    for language in ("es", "ro"):
        done = run(
            "data_prep.extract",
            f"--manifest={corpus}/{language}/manifest.jsonl",
            f"--out_dir={corpus}/{language}/records",
            "--backbone_2d=efficientnet_lite0",
        )
        assert done.returncode == 0, done.stderr
        text = FLAGS.format(folder=tmp_path, language=language)
        (tmp_path / f"{language}.flags").write_text(text)
    done = run(
        "avl_tf.cascade",
        f"--run_dir={tmp_path}/run",
        f"--stages=es={tmp_path}/es.flags,ro={tmp_path}/ro.flags@es",
        f"--evaluate=ro={corpus}/ro/records/eval",
    )
    assert done.returncode == 0, done.stderr
    assert "Synthetic corpus: drawn shapes and tones, no speech" in done.stdout
    table = json.loads((tmp_path / "run" / "cascade.json").read_text())
    assert table["synthetic"] and {row["n"] for row in table["rows"]} == {3}
    assert "| ro  | cascade   | es -> ro |" in done.stdout
    for stage in ("es", "ro"):
        export = tmp_path / "run" / stage / "export" / "1"
        signatures = tf.saved_model.load(str(export)).signatures
        assert {"waveform", "wav_bytes", "log_mel", "visual"} <= set(signatures)
