"""Files that are whole or not there, and file systems that cannot be used."""

import json
import os
import threading

import pytest
import tensorflow as tf

from avl_tf import files
from avl_tf.errors import UserError


def test_hdfs_without_hadoop_is_told_at_once():
    with pytest.raises((OSError, ValueError), match="hdfs://localhost:1/: ") as told:
        files.read_json("hdfs://localhost:1/a.json")
    # There where tensorflow-io does not load, no Hadoop would help.
    loaded = "hdfs" in tf.io.gfile.get_registered_schemes()
    assert isinstance(told.value, OSError if loaded else ValueError)


def test_a_scheme_that_nothing_opens_is_told():
    with pytest.raises(ValueError, match="s5://shelf/.*cannot open such paths"):
        files.read_json("s5://shelf/a.json")


def test_a_file_system_that_does_not_answer_is_given_up(monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(tf.io.gfile, "stat", lambda path: answered.wait())
    monkeypatch.setattr(files, "_PATIENCE_S", 0.1)
    with pytest.raises(ConnectionError, match="gs://silent/: .*no answer in 0.1 s"):
        files.require_filesystem("gs://silent/records")
    answered.set()


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (tf.errors.NotFoundError, FileNotFoundError, "no such bucket"),
        (tf.errors.PermissionDeniedError, PermissionError, "denied"),
        (tf.errors.UnknownError, ConnectionError, "cannot be reached"),
    ],
)
def test_an_error_of_the_file_system_names_the_bucket(monkeypatch, error, kind, text):
    def stat(path):
        raise error(None, None, f"about {path}\nand more")

    monkeypatch.setattr(tf.io.gfile, "stat", stat)
    with pytest.raises(kind, match=f"^gs://shelf/: .*{text}.*about gs://shelf/ and"):
        files.require_filesystem("gs://shelf/a/b")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = str(tmp_path / "folder" / "text")
    files.write_text(path, "first")
    with pytest.raises(KeyError), files.replacing(path) as temporary:
        with open(temporary, "w") as out:
            out.write("sec")
        raise KeyError
    assert (tmp_path / "folder" / "text").read_text() == "first"
    files.write_text(path, "second")
    assert os.listdir(tmp_path / "folder") == ["text"]
    assert (tmp_path / "folder" / "text").read_text() == "second"


def test_no_temporary_name_begins_with_another():
    names = [files.temporary_name("a/text") for _ in range(50)]
    assert len(set(names)) == 50
    assert not [a for a in names for b in names if a != b and a.startswith(b)]


def test_file_urls_are_paths(tmp_path):
    url = f"file://{tmp_path}/folder/value.json"
    files.write_json(url, {"a": 1})
    assert json.loads((tmp_path / "folder" / "value.json").read_text()) == {"a": 1}
    assert files.read_json(url) == {"a": 1}
    with files.local_copy(url) as local, open(local) as stream:
        assert json.load(stream) == {"a": 1}


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"[" * 100_000, b"{"])
def test_what_is_no_json_is_told(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="a.json: not a JSON file"):
        files.read_json(str(path))
