"""The paper's rules for clips: length, number, splits, and what people reject."""

import json
import re

import numpy as np
import pytest

from avl_tf.manifest import read_manifest, write_manifest
from avl_tf.near_duplicates import Fingerprint
from data_prep.builder import clip_corpus, clip_selection, data_card, decisions
from data_prep.builder.build_config import BuildConfig
from data_prep.builder.clip_selection import VideoClip
from data_prep.builder.decisions import Decisions, read_decisions
from data_prep.builder.video_scan import Scan
from data_prep.earlier_manifest import read_earlier


def _clips(video, n):
    return [VideoClip(video, 10.0 * i, 10.0 * i + 6) for i in range(n)]


def _fingerprint(seed):
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**28, 100).astype(np.uint64)
    return Fingerprint(hashes, np.arange(100, dtype=np.float32))


def _scan(seed, speech=((1.0, 7.0), (20.0, 30.0), (40.0, 44.0))):
    prints = {"audio": _fingerprint(seed), "frames": _fingerprint(1000 + seed)}
    return Scan(100.0, tuple(speech), prints)


@pytest.fixture
def scans():
    return {f"{seed:02d}.mp4": _scan(seed) for seed in range(12)}


@pytest.mark.parametrize(
    "spans, kept, n_short, n_long",
    [
        ([(1.0, 6.0), (10.0, 60.0)], [(1.0, 6.0), (10.0, 60.0)], 0, 0),
        ([(1.0, 5.98), (10.0, 60.02)], [], 1, 1),
        ([(1.004, 6.128)], [(1.0, 6.12)], 0, 0),
        ([], [], 0, 0),
    ],
)
def test_of_length_keeps_both_limits(spans, kept, n_short, n_long):
    assert clip_selection.of_length(spans, 5, 50) == (kept, n_short, n_long)


def test_deal_draws_the_numbers_wanted_and_keeps_groups_together():
    random = np.random.default_rng(1)
    groups = [
        _clips(f"{i}a", random.integers(0, 9)) + _clips(f"{i}b", random.integers(0, 3))
        for i in range(400)
    ]
    wanted = {"train": 1000, "val": 300, "eval": 300}
    dealt = clip_selection.deal(groups, wanted, seed=0)
    assert {split: len(clips) for split, clips in dealt.items()} == wanted
    split_of = {}
    for split, clips in dealt.items():
        assert clips == sorted(set(clips))
        for clip in clips:
            assert split_of.setdefault(clip.video[:-1], split) == split
    n_videos = sum(bool(group) for group in groups)
    assert len(split_of) > 0.8 * n_videos  # drawn from all, not from the first ones


def test_deal_gives_every_split_its_share_of_too_few_clips():
    groups = [_clips(str(i), 4) for i in range(32)]
    wanted = {"train": 10000, "val": 3000, "eval": 3000}
    n_clips = {split: 0 for split in wanted}
    for seed in range(50):
        dealt = clip_selection.deal(groups, wanted, seed)
        assert sum(map(len, dealt.values())) == 128
        for split, clips in dealt.items():
            n_clips[split] += len(clips) / 50
    # Four standard errors of the mean: 4 clips * sqrt(32 * 0.23 / 50) * 4.
    assert n_clips == pytest.approx({"train": 80, "val": 24, "eval": 24}, abs=6)


def test_deal_of_three_videos_fills_three_splits():
    wanted = {"train": 10, "val": 3, "eval": 3}
    for seed in range(5):
        groups = [_clips(str(i), 5) for i in range(3)]
        dealt = clip_selection.deal(groups, wanted, seed)
        assert [len(dealt[split]) for split in wanted] == [5, 3, 3]


def test_fewer_videos_than_splits_fill_the_largest_or_those_that_were_filled():
    wanted = {"train": 10, "val": 3, "eval": 4}
    for seed in range(10):
        dealt = clip_selection.deal([_clips("a", 2)], wanted, seed)
        assert [len(dealt[split]) for split in wanted] == [2, 0, 0]
        two = [_clips("a", 2), _clips("b", 2)]
        dealt = clip_selection.deal(two, wanted, seed)
        assert [len(dealt[split]) for split in wanted] == [2, 0, 2]
        dealt = clip_selection.deal(two, wanted, seed, {"a": "val", "b": "train"})
        assert dealt["val"] == two[0] and dealt["train"] == two[1]


def test_more_videos_move_none_and_replace_few_clips():
    wanted = {"train": 100, "val": 30, "eval": 30}
    for seed in range(30):
        groups = [_clips(f"{i}", 8) for i in range(40)]
        more = [*groups, *(_clips(f"new {i}", 8) for i in range(4))]
        before = clip_selection.deal(groups, wanted, seed)
        after = clip_selection.deal(more[::-1], wanted, seed)
        split_of = {c.video: s for s, clips in after.items() for c in clips}
        for split, clips in before.items():
            assert {split_of.get(c.video, split) for c in clips} == {split}
            gone, come = set(clips) - set(after[split]), set(after[split]) - set(clips)
            assert len(gone) <= len(come)
            # What leaves makes room for clips of new videos, and for nothing else.
            assert all(c.video.startswith("new") for c in come)


def test_deal_follows_its_seed():
    groups = [_clips(str(i), 4) for i in range(32)]
    wanted = {"train": 30, "val": 9, "eval": 9}
    one, same, other = (clip_selection.deal(groups, wanted, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_deal_leaves_out_a_split_of_zero():
    dealt = clip_selection.deal([_clips("a", 5)], {"train": 3, "val": 0}, 0)
    assert list(dealt) == ["train"]


def test_build_makes_a_manifest_that_can_be_read(scans, tmp_path):
    corpus = clip_corpus.build(scans, BuildConfig(), Decisions())
    assert corpus.segments == {
        "found": 36,
        "too_short": 12,
        "too_long": 0,
        "not_drawn": 0,
    }
    paths = {video: str(tmp_path / video) for video in scans}
    path = str(tmp_path / "manifest.jsonl")
    lines = clip_corpus.manifest_lines(corpus, scans, paths, "ja", path)
    write_manifest(path, lines)
    recordings = read_manifest(path)
    assert sorted(r.id for r in recordings) == sorted(scans)
    assert {r.split for r in recordings} == {"train", "val", "eval"}
    for recording in recordings:
        assert recording.media == str(tmp_path / recording.id)
        assert recording.language == "ja"
        assert recording.clips == (
            {"start_s": 1.0, "end_s": 7.0},
            {"start_s": 20.0, "end_s": 30.0},
        )


def test_pauses_are_bridged_by_default_with_silero_only():
    scans = {"a": _scan(0, speech=[(0.0, 4.0), (4.4, 8.0)])}
    corpus = clip_corpus.build(scans, BuildConfig(), Decisions())
    assert corpus.drawn["train"] == [VideoClip("a", 0.0, 8.0)]
    for config in (BuildConfig(segmenter="inaspeech"), BuildConfig(pause_s=0.3)):
        with pytest.raises(ValueError, match="2 are too short and 0 too long"):
            clip_corpus.build(scans, config, Decisions())


@pytest.mark.parametrize("kind", ["audio", "frames"])
def test_near_duplicates_are_one_recording_in_one_split(scans, kind, tmp_path):
    config = BuildConfig(near_duplicates=(kind,))
    for copy, original in (("90.mp4", "03.mp4"), ("91.mp4", "07.mp4")):
        prints = {"audio": _fingerprint(ord(copy[1])), "frames": _fingerprint(500)}
        prints[kind] = scans[original].fingerprints[kind]
        scans[copy] = Scan(100.0, scans[original].speech, prints)
    other = {"audio": "frames", "frames": "audio"}[kind]
    corpus = clip_corpus.build(scans, config, Decisions())
    assert corpus.duplicates == [
        {"videos": ["03.mp4", "90.mp4"], "same": [kind]},
        {"videos": ["07.mp4", "91.mp4"], "same": [kind]},
    ]
    lines = clip_corpus.manifest_lines(
        corpus, scans, dict.fromkeys(scans, "m"), "ja", "x"
    )
    recording_of = {line["id"]: (line["recording_id"], line["split"]) for line in lines}
    assert recording_of["90.mp4"] == recording_of["03.mp4"]
    assert recording_of["90.mp4"][0] == "03.mp4"
    assert recording_of["91.mp4"] == recording_of["07.mp4"]
    if other == "audio":
        without = BuildConfig(near_duplicates=(other,))
        assert clip_corpus.build(scans, without, Decisions()).duplicates == []


def _earlier(lines, tmp_path):
    path = str(tmp_path / "earlier.jsonl")
    write_manifest(path, lines)
    return read_earlier(path)


def _lines(corpus, scans):
    paths = {video: f"/videos/{video}" for video in scans}
    return clip_corpus.manifest_lines(corpus, scans, paths, "ja", "/x/m.jsonl")


@pytest.mark.parametrize("kept", [False, True])
def test_a_corpus_that_grows_or_shrinks_keeps_its_splits(kept, tmp_path):
    everything = {f"{seed:02d}.mp4": _scan(seed) for seed in range(30)}
    for seed in range(8):
        config = BuildConfig(seed=seed)
        first = list(everything)[3:27]
        scans = {video: everything[video] for video in first}
        corpus = clip_corpus.build(scans, config, Decisions())
        before = {line["id"]: line["split"] for line in _lines(corpus, scans)}
        earlier = _earlier(_lines(corpus, scans), tmp_path) if kept else {}
        # A copy of a video, with a name that comes before, is in its split.
        copy = f"0 copy of {first[5]}"
        for videos in (everything, {v: everything[v] for v in first[4:]}):
            videos = {copy: everything[first[5]], **videos}
            corpus = clip_corpus.build(videos, config, Decisions(), earlier)
            after = {line["id"]: line for line in _lines(corpus, videos)}
            filled = {n.id for n in corpus.notes if n.kind in ("filled", "moved")}
            for video in set(before) & set(after) - filled:
                assert after[video]["split"] == before[video]
            assert after[copy]["split"] == after[first[5]]["split"]
            if kept:
                assert after[copy]["recording_id"] == first[5]


def test_what_must_move_goes_to_train_and_is_told(tmp_path):
    scans = {f"{seed:02d}.mp4": _scan(seed) for seed in range(30)}
    config = BuildConfig()
    corpus = clip_corpus.build(scans, config, Decisions())
    lines = _lines(corpus, scans)
    split_of = {line["id"]: line["split"] for line in lines}
    home = {
        split: [v for v in split_of if split_of[v] == split] for split in config.wanted
    }
    train, tested = home["train"][0], home["eval"][0]
    # It sounds as one of the training videos and looks as one of the evaluation's.
    prints = {
        "audio": scans[train].fingerprints["audio"],
        "frames": scans[tested].fingerprints["frames"],
    }
    scans["both.mp4"] = Scan(100.0, scans[train].speech, prints)
    earlier = _earlier(lines, tmp_path)
    corpus = clip_corpus.build(scans, config, Decisions(), earlier)
    after = {line["id"]: line["split"] for line in _lines(corpus, scans)}
    assert after == {**split_of, tested: "train", "both.mp4": "train"}
    told = [note for note in corpus.notes if note.kind == "moved"]
    assert [note.id for note in told] == [tested]
    assert told[0].detail == "from eval to train, where copies of it are"


def test_videos_without_a_clip_are_named(scans):
    scans["quiet.mp4"] = Scan(9.0, (), _scan(90).fingerprints)
    scans["short.mp4"] = _scan(91, speech=[(1.0, 2.0), (10.0, 70.0)])
    notes = clip_corpus.build(scans, BuildConfig(), Decisions()).notes
    assert {
        note.id: note.detail for note in notes if note.kind == "without a clip"
    } == {
        "quiet.mp4": "no speech is found in it",
        "short.mp4": "of 2 segments of speech 1 too short (--min_s=5), 1 too long "
        "(--max_s=50)",
    }


def test_rejected_clips_and_videos_leave_without_a_replacement(scans):
    config = BuildConfig(n_train=10, n_val=3, n_eval=3)
    before = clip_corpus.build(scans, config, Decisions())
    clip, kept = before.drawn["train"][0], before.drawn["val"][0]
    video = before.drawn["eval"][0].video
    n_drawn = sum(map(len, before.drawn.values()))
    decided = Decisions(
        clips={clip.id: "rejected", kept.id: "accepted"}, videos={video: "rejected"}
    )
    after = clip_corpus.build(scans, config, decided)
    assert after.drawn == before.drawn
    gone = {
        c
        for clips in before.drawn.values()
        for c in clips
        if c == clip or c.video == video
    }
    for split, clips in before.kept.items():
        assert after.kept[split] == [c for c in clips if c not in gone]
    card = clip_corpus.describe(after, scans, config, decided, n_failed=2)
    assert card["review"] == {
        "accepted_clips": 1,
        "undecided_clips": n_drawn - len(gone) - 1,
        "rejected_clips": len(gone),
        "rejected_videos": 1,
    }
    assert card["videos"]["found"] == 14
    assert card["speech_share"] == pytest.approx(0.2)
    assert card["segments_of_speech"]["not_drawn"] == 24 - n_drawn


def test_all_rejected_is_an_error(scans):
    decided = Decisions(videos=dict.fromkeys(scans, "rejected"))
    with pytest.raises(ValueError, match="All 24 clips are rejected"):
        clip_corpus.build(scans, BuildConfig(), decided)


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"min_s": 60.0}, "--min_s=60.0 is more than --max_s=50.0"),
        ({"n_train": 0, "n_val": 0, "n_eval": 0}, "nothing to build"),
        ({"near_duplicates": ("faces",)}, "'faces', expected some of audio,frames"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        BuildConfig(**settings)


@pytest.mark.parametrize(
    "content, text",
    [
        ("{", "not a JSON file"),
        ("[]", "not a decisions file"),
        ('{"clips": {}}', "not a decisions file"),
        ({"clips": []}, "'clips' must be an object"),
        ({"videos": {"a": "no"}}, "'videos' has \"no\" for 'a'"),
        ({"clips": {"a": None}}, "'clips' has null for 'a'"),
        ({"clips": {"a": []}}, "'clips' has [] for 'a'"),
    ],
)
def test_read_decisions_says_what_is_wrong(content, text, tmp_path):
    path = tmp_path / "decisions.json"
    if isinstance(content, dict):
        content = json.dumps({"format": decisions.FORMAT, **content})
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(text)):
        read_decisions(str(path))


def test_read_decisions_of_bytes_and_of_nothing(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a JSON file"):
        read_decisions(str(tmp_path / "bytes"))
    with pytest.raises(FileNotFoundError, match="no such decisions file"):
        read_decisions(str(tmp_path))


def test_unknown_decisions_are_told(scans):
    clip = VideoClip("a.mp4", 1.0, 7.5)
    decided = Decisions(
        clips={clip.id: "accepted", "a.mp4@9.00-19.00": "rejected"},
        videos={"a.mp4": "rejected", "b.mp4": "rejected"},
    )
    assert clip.id == "a.mp4@1.00-7.50"
    assert decided.unknown([clip]) == ["a.mp4@9.00-19.00", "b.mp4"]


def test_data_card_says_the_same_in_both_forms(scans, tmp_path):
    config = BuildConfig()
    corpus = clip_corpus.build(scans, config, Decisions())
    card = {
        "language": "ja",
        "licences": "CC BY | <b>3.0</b>",
        **clip_corpus.describe(corpus, scans, config, Decisions(), 0),
    }
    data_card.write(str(tmp_path), card)
    read = json.loads((tmp_path / "data_card.json").read_text())
    assert read["licences"] == "CC BY | <b>3.0</b>"
    assert read["settings"]["pause_s"] == 0.5
    train = read["splits"]["train"]
    assert train["clips"] == 2 * train["videos"]
    assert train["clip_s"] == {"shortest": 6, "median": 8, "mean": 8, "longest": 10}
    assert train["hours"] == pytest.approx(train["clips"] * 8 / 3600, abs=1e-3)
    text = (tmp_path / "data_card.md").read_text()
    assert "| licences | CC BY \\| \\<b\\>3.0\\</b\\> |" in text
    assert f"| train | 10000 | {train['videos']} | {train['clips']} |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) in (3, 7) for row in rows)
