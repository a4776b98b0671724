"""Images and spoken captions, from files to a trained and exported model, as a user."""

import json
import pathlib

import made_media
import pytest
import tensorflow as tf
from PIL import Image
from programs import fails_in_one_line, run
from small_corpora import adapt, video, wav

from avl_tf import records

pytestmark = pytest.mark.slow

SMALL = """\
--image_encoder=resnet18
--image_width=0.25
--audio_widths=8,8,16
--embedding_dim=16
--clip_sampling=whole
--clip_s=1
--batch_size=4
--epochs=1
--evaluation_clip_s=1
"""


def _save(path, seed, size=(320, 300), mode="RGB", **settings):
    noise = Image.fromarray(made_media.noise(seed, 6, 8))
    noise.resize(size).convert(mode).save(path, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight captions of images of all kinds; a broken one and a video."""
    folder = tmp_path_factory.mktemp("images")
    names = [f"{i}.jpg" for i in range(5)] + ["5.png", "6.png", "7.jpg"]
    for i, name in enumerate(names):
        wav(folder / f"{i}.wav", 300 + 200 * i)
        _save(folder / name, i)
    _save(folder / "0.jpg", 0, (256, 256), quality=80)
    _save(folder / "1.jpg", 1, mode="L")
    _save(folder / "2.jpg", 2, mode="CMYK")
    _save(folder / "6.png", 6, mode="RGBA")
    (folder / "7.jpg").write_bytes((folder / "7.jpg").read_bytes()[:900])
    video(folder / "8.mp4")
    rows = [f"{i}.wav,{name},train" for i, name in enumerate(names)]
    (folder / "table.csv").write_text("\n".join(["media,image,split", *rows[:7]]))
    done = adapt("table", folder / "m.jsonl", f"--table={folder}/table.csv")
    assert done.returncode == 0, done.stderr
    more = [
        {"id": "7.wav", "media": "7.wav", "image": "7.jpg", "split": "train"},
        {"id": "8.mp4", "media": "8.mp4", "split": "train"},
    ]
    lines = "".join(json.dumps(line) + "\n" for line in more)
    (folder / "all.jsonl").write_text((folder / "m.jsonl").read_text() + lines)
    return folder


@pytest.fixture(scope="module")
def extracted(folder):
    return run(
        "data_prep.extract",
        f"--manifest={folder}/all.jsonl",
        f"--out_dir={folder}/records",
        "--keep_images",
        "--backbone_2d=",
        "--workers=1",
    )


def _read(path):
    opened = records.open_records(str(path))
    serialized = tf.data.TFRecordDataset(opened.paths)
    found = [records.decode(one.numpy(), opened.spec) for one in serialized]
    return opened.spec, {record.id: record for record in found}


def test_images_are_kept_and_failures_have_reasons(folder, extracted):
    fails_in_one_line(extracted, "2 of 9 recordings failed")
    spec, found = _read(folder / "records")
    assert spec.images and spec.streams == {}
    assert sorted(found) == [f"{i}.wav" for i in range(7)]
    assert found["0.wav"].image == (folder / "0.jpg").read_bytes()
    for record in found.values():
        image = tf.io.decode_jpeg(record.image)
        assert min(image.shape[:2]) == 256 and record.features_2d is None
    listed = (folder / "records" / "failures.jsonl").read_text().splitlines()
    reasons = {line["id"]: line["reason"] for line in map(json.loads, listed)}
    assert "7.jpg: its image cannot be decoded" in reasons["7.wav"]
    assert "no image, as --keep_images wants" in reasons["8.mp4"]


def test_converted_records_hold_the_same_images(folder, extracted):
    paths = (f"--records={folder}/records", f"--out_dir={folder}/int8")
    assert run("data_prep.convert", *paths).returncode == 0
    (_, before), (spec, after) = _read(folder / "records"), _read(folder / "int8")
    assert spec.images and spec.storage == "int8"
    assert {k: v.image for k, v in after.items()} == {
        k: v.image for k, v in before.items()
    }


def test_features_and_images_may_stand_side_by_side(folder):
    done = run(
        "data_prep.extract",
        f"--manifest={folder}/m.jsonl",
        f"--out_dir={folder}/both",
        "--keep_images",
        "--backbone_2d=efficientnet_lite0",
        "--workers=1",
    )
    assert done.returncode == 0, done.stderr
    spec, found = _read(folder / "both")
    assert spec.images and spec.visual_dims == (1280,)
    for record in found.values():
        assert record.image[:2] == b"\xff\xd8" and record.features_2d.shape == (1, 1280)


def test_a_cascade_of_image_encoders_is_trained_and_exported(folder, extracted):
    (folder / "s.flags").write_text(f"{SMALL}--records={folder}/records/train\n")
    arguments = (
        f"--run_dir={folder}/run",
        f"--stages=one={folder}/s.flags,two={folder}/s.flags@one",
        f"--evaluate=x={folder}/records/train",
    )
    done = run("avl_tf.cascade", *arguments)
    assert done.returncode == 0, done.stderr
    rows = json.loads((folder / "run" / "cascade.json").read_text())["rows"]
    by_key = {(row["stage"], row["when"]): row for row in rows}
    last = by_key["one", "final"]
    assert last["n"] == 7
    assert by_key["two", "zero_shot"]["a2v/MRR"] == last["a2v/MRR"]
    recall = folder / "recall.json"
    done = run(
        "avl_tf.evaluate",
        f"--export={folder}/run/one/export/1",
        f"--output={recall}",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(recall.read_text())["sets"]["x"]["a2v/MRR"] == last["a2v/MRR"]


@pytest.mark.parametrize(
    ("module", "arguments", "texts"),
    [
        ("data_prep.extract", ["--keep_images", "--backbone_3d=x"], ["--keep_images"]),
        ("data_prep.extract", ["--backbone_2d="], ["both empty"]),
        ("avl_tf.train", ["--image_encoder="], ["no frozen features"]),
        ("avl_tf.train", ["--image_weights=no.pth"], ["no.pth"]),
    ],
)
def test_bad_settings_are_one_line(
    folder, extracted, tmp_path, module, arguments, texts
):
    if module == "avl_tf.train":
        common = [f"--flagfile={folder}/t.flags", f"--run_dir={tmp_path}/run"]
        (folder / "t.flags").write_text(f"{SMALL}--records={folder}/records/train\n")
    else:
        common = [f"--manifest={folder}/all.jsonl", f"--out_dir={tmp_path}/run"]
    fails_in_one_line(run(module, *common, *arguments), *texts)
    assert not pathlib.Path(tmp_path / "run").exists()
