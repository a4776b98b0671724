import pathlib

import corpus
import numpy as np
import tensorflow as tf
from programs import fails_in_one_line, run

from avl_tf import records


def _convert(source, out_dir):
    return run("data_prep.convert", f"--records={source}", f"--out_dir={out_dir}")


def _all(path):
    opened = records.open_records(str(path))
    serialized = tf.data.TFRecordDataset(opened.paths)
    return opened, [records.decode(s.numpy(), opened.spec) for s in serialized]


def test_int8_holds_the_same_recordings_in_half_the_bytes(tmp_path):
    corpus.make_set(str(tmp_path / "a"), n_recordings=3)
    done = _convert(tmp_path / "a", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    (before, made), (after, found) = _all(tmp_path / "a"), _all(tmp_path / "b")
    assert after.spec.storage == "int8"
    assert (after.n_records, after.n_clips) == (before.n_records, before.n_clips)
    n_bytes = [
        sum(shard.n_bytes for shard in opened.spec.shards.values())
        for opened in (before, after)
    ]
    assert n_bytes[1] < 0.52 * n_bytes[0]
    for old, new in zip(made, found, strict=True):
        assert (old.id, old.clips, old.labels) == (new.id, new.clips, new.labels)
        assert np.abs(old.log_mel - new.log_mel).max() < 0.25
    # Run again, it makes only what is missing.
    kept, removed = (pathlib.Path(path) for path in after.paths)
    content, written = removed.read_bytes(), kept.stat().st_mtime_ns
    removed.unlink()
    assert _convert(tmp_path / "a", tmp_path / "b").returncode == 0
    assert removed.read_bytes() == content
    assert kept.stat().st_mtime_ns == written


def test_a_damaged_record_ends_in_one_line_that_names_it(tmp_path):
    opened = records.open_records(corpus.make_set(str(tmp_path / "a")))
    shard = pathlib.Path(opened.paths[1])
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    failed = _convert(tmp_path / "a", tmp_path / "b")
    fails_in_one_line(failed, f"{shard.name}: damaged: record")
    assert not (tmp_path / "b" / "spec.json").exists()
    assert not (tmp_path / "b" / shard.name).exists()
