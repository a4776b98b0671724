"""What is new, changed, renamed and gone, told without embedding anything."""

import dataclasses
import os

import pytest

from avl_tf.commands import index_upkeep
from avl_tf.errors import UserError
from avl_tf.retrieval import Store, changes, origins, writing
from avl_tf.retrieval.entries import Medium
from avl_tf.retrieval.origins import MANIFEST, VIDEOS, Origin
from avl_tf.retrieval.windows import WindowConfig

CONFIG = WindowConfig().settled(0)


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "sub/b.MKV", "c.wav", "notes.txt", ".hidden.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(name * 10)
    return tmp_path / "videos"


def _listed(folder, config=CONFIG, sees_images=False, **of_origin):
    origin = Origin(VIDEOS, str(folder), **of_origin)
    wanted, faults = origins.of_media(origin, config, sees_images)
    assert not faults
    return wanted


def _known(wanted, **changed):
    """The index after everything was embedded."""
    return [
        Medium(
            number,
            dataclasses.replace(
                one.source,
                content=origins.content(
                    one.source.media, one.source.size, one.source.mtime_ns
                ),
            ),
            1.0,
            1,
            **changed,
        )
        for number, one in enumerate(wanted, 1)
    ]


def _find(folder, known, retry_failed=False, **listed):
    wanted = _listed(folder, **listed)
    found = changes.find(known, wanted, {f"videos:{folder}"}, retry_failed)
    ids = [one.source.record_id for one in found.make]
    return found, ids


def test_media_are_found_by_their_names(folder):
    (folder / "x.jpg").write_text("x")
    ids = [one.source.record_id for one in _listed(folder)]
    assert ids == ["a.mp4", "c.wav", "sub/b.MKV"]
    ids = [one.source.record_id for one in _listed(folder, sees_images=True)]
    assert ids == ["c.wav", "x.jpg"]
    assert _listed(folder, language="es")[0].source.language == "es"


def test_a_name_that_is_no_text_is_a_failure(folder):
    for name in (b"\xff.mp4", b"\xff.txt"):
        with open(os.path.join(os.fsencode(folder), name), "wb"):
            pass
    _, (fault,) = origins.of_media(Origin(VIDEOS, str(folder)), CONFIG, False)
    assert fault["id"] == r"\udcff.mp4" and "rename it" in fault["reason"]


def test_what_is_taken_out_may_have_a_comma_in_its_name(folder, tmp_path):
    for name in ("a,c.wav", "x\ny.mp4"):
        (folder / name).write_text(name)
    index_dir = str(tmp_path / "index")
    with writing.writing(index_dir) as writer:
        for one in _listed(folder):
            writer.add_failure(one.source, "none")
    taken = index_upkeep.remove(index_dir, ["a,c.wav", "x\ny.mp4"])
    with Store.open(index_dir) as store:
        left = [one.source.record_id for one in store.media() if not one.removed]
    assert (taken, left) == (2, ["a.mp4", "c.wav", "sub/b.MKV"])
    assert index_upkeep.remove(index_dir, [f"{folder}/a.mp4,c.wav"]) == 2
    for name in ("a.mp4,", "", "none,c.wav"):
        with pytest.raises(UserError, match="no recording of"):
            index_upkeep.remove(index_dir, [name])


def test_nothing_is_done_where_nothing_changed(folder):
    known = _known(_listed(folder))
    found, ids = _find(folder, known)
    assert not (ids or found.keep or found.gone) and found.n_same == 3
    # Written anew with the same content, it is the same.
    os.utime(folder / "a.mp4", ns=(1, 1))
    found, ids = _find(folder, known)
    ((medium_id, source),) = found.keep
    assert (ids, medium_id, source.mtime_ns) == ([], 1, 1)
    assert source.content == known[0].source.content


def test_what_is_new_or_changed_is_made_and_what_is_not_there_goes(folder):
    known = _known(_listed(folder))
    (folder / "a.mp4").write_text("of another length")
    (folder / "c.wav").write_text("C.WAV" * 10)
    os.utime(folder / "c.wav", ns=(1, 1))
    (folder / "sub/b.MKV").unlink()
    (folder / "new.mp4").write_text("new")
    found, ids = _find(folder, known)
    assert ids == ["a.mp4", "c.wav", "new.mp4"]
    assert (found.gone, found.n_same) == ([3], 0)


def test_a_renamed_file_keeps_its_vectors_and_a_copy_does_not_take_them(folder):
    known = _known(_listed(folder))
    (folder / "a.mp4").rename(folder / "z.mp4")
    (folder / "copy.wav").write_text("c.wav" * 10)
    found, ids = _find(folder, known)
    ((medium_id, source),) = found.keep
    assert (medium_id, source.record_id) == (1, "z.mp4") and found.n_renamed == 1
    assert source.content == known[0].source.content
    assert ids == ["copy.wav"] and not found.gone


def test_of_two_new_names_one_is_the_old_file(folder):
    known = _known(_listed(folder))
    (folder / "a.mp4").rename(folder / "z1.mp4")
    (folder / "z2.mp4").write_text("a.mp4" * 10)
    found, ids = _find(folder, known)
    assert found.n_renamed == 1 and ids == ["z2.mp4"] and not found.gone


def test_other_settings_make_all_anew(folder):
    known = _known(_listed(folder))
    other = WindowConfig(window_s=3.0).settled(0)
    for listed in ({"config": other}, {"language": "es"}, {"audio_track": 1}):
        _, ids = _find(folder, known, **listed)
        assert len(ids) == 3


def test_what_was_taken_out_stays_out_until_it_changes(folder):
    known = _known(_listed(folder), removed=True)
    found, ids = _find(folder, known, retry_failed=True)
    assert found.n_removed == 3 and not ids
    (folder / "a.mp4").rename(folder / "z.mp4")
    (folder / "c.wav").write_text("other")
    found, ids = _find(folder, known)
    assert ids == ["c.wav"] and found.n_renamed == 1


def test_what_failed_is_tried_again_when_it_is_asked_for_or_changes(folder):
    known = _known(_listed(folder), failure="damaged")
    assert _find(folder, known)[1] == []
    assert len(_find(folder, known, retry_failed=True)[1]) == 3
    (folder / "a.mp4").write_text("mended")
    assert _find(folder, known)[1] == ["a.mp4"]


def test_media_of_other_origins_stay(folder):
    known = [
        dataclasses.replace(
            one, source=dataclasses.replace(one.source, origin="manifest:/m.jsonl")
        )
        for one in _known(_listed(folder))
    ]
    (folder / "a.mp4").unlink()
    assert not _find(folder, known)[0].gone


def test_a_manifests_media_that_are_away_keep_their_vectors(folder, tmp_path):
    path = tmp_path / "manifest.jsonl"
    lines = [f'{{"id": "{name}", "media": "videos/{name}"}}' for name in ("a.mp4",)]
    path.write_text("\n".join([*lines, '{"id": "c", "media": "videos/c.wav"}', "{}"]))
    origin = Origin(MANIFEST, str(path))
    wanted, faults = origins.of_media(origin, CONFIG, False)
    assert [one["id"] for one in faults] == ["line 3"]
    known = _known(wanted)
    (folder / "a.mp4").unlink()
    wanted, _ = origins.of_media(origin, CONFIG, False)
    found = changes.find(known, wanted, {origin.key})
    assert found.n_same == 2 and not (found.make or found.gone or found.keep)
    # What was never there is a failure, and told by extraction.
    assert len(changes.find([], wanted, {origin.key}).make) == 2


def test_an_empty_folder_takes_nothing_out(tmp_path):
    with pytest.raises(origins.NothingThere, match="Nothing is changed"):
        _listed(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        _listed(tmp_path / "none")


def test_a_folder_within_another_is_refused():
    one, other = (Origin(VIDEOS, path) for path in ("/a/b", "/a/bc"))
    origins.require_apart([one, other])
    with pytest.raises(UserError, match="its files would be found twice"):
        origins.require_apart([one, Origin(VIDEOS, "/a")])
