"""data_prep.build as a user runs it: a folder of videos, a review, a manifest."""

import json
import os
import shutil

import made_media
import narrated
import pytest
from programs import fails_in_one_line, run

from avl_tf.manifest import read_manifest

N_VIDEOS = 5


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "more").mkdir()
    for seed in range(N_VIDEOS):
        name = f"{seed}.mp4" if seed else "more/odd #1 & <b>'é.mp4"
        narrated.write_narrated(folder / name, speed=0.85 + 0.07 * seed, seed=seed)
    shutil.copy(folder / "2.mp4", folder / "copy of 2.mp4")
    (folder / "broken.mp4").write_bytes((folder / "1.mp4").read_bytes()[:20000])
    (folder / "notes.txt").write_text("no video\n")
    return folder


@pytest.fixture(scope="module")
def built(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("built")
    arguments = [
        f"--videos={videos}",
        "--language=sw",
        f"--out_dir={out}",
        "--workers=2",
    ]
    return out, arguments, run("data_prep.build", *arguments)


def _read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_build_makes_splits_of_clips_and_tells_of_failures(built, videos):
    out, _, done = built
    fails_in_one_line(done, "1 of 7 videos failed", "broken.mp4", "failures.jsonl")
    (failure,) = _read(out / "failures.jsonl")
    assert failure["id"] == "broken.mp4" and "cannot be opened" in failure["reason"]
    recordings = read_manifest(str(out / "manifest.jsonl"))
    assert len(recordings) == N_VIDEOS + 1
    assert {recording.split for recording in recordings} == {"train", "val", "eval"}
    for recording in recordings:
        assert os.path.isfile(recording.media)
        for clip in recording.clips:
            assert 5 <= clip["end_s"] - clip["start_s"] <= 9
    same = [r for r in recordings if r.id in ("2.mp4", "copy of 2.mp4")]
    assert len({(r.recording_id, r.split) for r in same}) == 1
    assert "same audio and frames: 2.mp4, copy of 2.mp4" in done.stdout
    assert "1 other file in" in done.stdout
    assert "of 10000 wanted" in done.stdout
    card = json.loads((out / "data_card.json").read_text())
    assert sum(split["clips"] for split in card["splits"].values()) == 2 * len(
        recordings
    )
    assert 0.5 < card["speech_share"] < 0.8


@pytest.mark.slow
def test_build_again_decodes_nothing_and_applies_decisions(built, videos):
    out, arguments, _ = built
    page = (out / "review" / "index.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert all(os.path.getsize(out / "review" / c["picture"]) for c in data["clips"])
    before = read_manifest(str(out / "manifest.jsonl"))
    left = [f"scans/a.npz.{'0' * 32}.tmp", f"review/pictures/00/a.jpg.{'f' * 32}.tmp"]
    for name in left:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).touch()
    clip, video = data["clips"][0], data["clips"][-1]["video"]
    assert clip["video"] != video
    decided = {
        "format": data["format"],
        "clips": {clip["id"]: "rejected", data["clips"][1]["id"]: "accepted"},
        "videos": {video: "rejected"},
    }
    path = out / "decisions.json"
    path.write_text(json.dumps(decided))
    # Videos of the same size and time, of which there is nothing to decode.
    for recording in before:
        status = os.stat(recording.media)
        with open(recording.media, "r+b") as file:
            file.write(bytes(status.st_size))
        os.utime(recording.media, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = run("data_prep.build", *arguments, f"--decisions={path}")
    fails_in_one_line(done, "1 of 7 videos failed")
    assert not any((out / name).exists() for name in left)
    n_gone = 1 + sum(c["video"] == video for c in data["clips"])
    assert f"rejected: {n_gone} clips" in done.stdout
    after = {r.id: r for r in read_manifest(str(out / "manifest.jsonl"))}
    assert {r.id for r in before} - set(after) == {video}
    for recording in before:
        if recording.id != video:
            expected = tuple(
                c
                for c in recording.clips
                if (recording.id, c["start_s"]) != (clip["video"], clip["start_s"])
            )
            assert after[recording.id].clips == expected
            assert after[recording.id].split == recording.split
    decided["clips"], decided["videos"] = {"another.mp4@1.00-9.00": "rejected"}, {}
    path.write_text(json.dumps(decided))
    done = run("data_prep.build", *arguments, f"--decisions={path}")
    fails_in_one_line(done, "1 of 1 decisions are about other clips", "another.mp4")


@pytest.mark.slow
def test_build_of_more_videos_moves_none(tmp_path):
    videos, out, new = (tmp_path / name for name in ("videos", "out", "new"))
    videos.mkdir()
    speeds = [0.85 + 0.05 * seed for seed in range(8)]
    for seed, speed in enumerate(speeds[:6]):
        narrated.write_narrated(videos / f"{seed}.mp4", speed=speed, seed=seed)
    made_media.make_media(
        videos / "tone.mp4", map(made_media.numbered, range(30)), made_media.sine(3)
    )
    # With this seed no split has to be filled.
    arguments = [f"--videos={videos}", "--language=sw", "--noreview", "--seed=1"]
    done = run("data_prep.build", *arguments, f"--out_dir={out}")
    assert done.returncode == 0 and " filled (" not in done.stdout, done.stderr
    assert "1 without a clip (tone.mp4: no speech is found in it)" in done.stdout
    (note,) = (n for n in _read(out / "notes.jsonl") if n["kind"] == "without a clip")
    assert note["media"] == str(videos / "tone.mp4")
    before = {r.id: r for r in read_manifest(str(out / "manifest.jsonl"))}
    assert {r.split for r in before.values()} == {"train", "val", "eval"}
    for seed in (6, 7):
        narrated.write_narrated(videos / f"{seed}.mp4", speed=speeds[seed], seed=seed)
    shutil.copy(videos / "3.mp4", videos / "3 (1).mp4")
    shutil.copytree(out / "scans", new / "scans")
    for folder in (out, new):
        done = run("data_prep.build", *arguments, f"--out_dir={folder}")
        after = {r.id: r for r in read_manifest(str(folder / "manifest.jsonl"))}
        assert len(after) == 9 and after["3 (1).mp4"].split == after["3.mp4"].split
        if folder == out:
            assert {name: after[name] for name in before} == before
            assert "moved" not in done.stdout
        assert all(after[name].split == before[name].split for name in before)
    # Nor does another name.
    (videos / "3 (1).mp4").unlink()
    (videos / "4.mp4").rename(videos / "renamed.mp4")
    done = run("data_prep.build", *arguments, f"--out_dir={out}")
    kept = {r.id: r.split for r in read_manifest(str(out / "manifest.jsonl"))}
    assert kept["renamed.mp4"] == before["4.mp4"].split
    told = {n["kind"]: n["id"] for n in _read(out / "notes.jsonl")}
    assert told["renamed"] == "renamed.mp4" and told["gone"] == "3 (1).mp4"
    (videos / "renamed.mp4").rename(videos / "4.mp4")
    # Another seed deals anew only if that is asked for.
    anew = (*arguments, f"--out_dir={out}", "--seed=3")
    run("data_prep.build", *anew)
    kept = {r.id: r.split for r in read_manifest(str(out / "manifest.jsonl"))}
    assert all(kept[name] == before[name].split for name in before)
    run("data_prep.build", *anew, "--nokeep_splits")
    dealt = {r.id: r.split for r in read_manifest(str(out / "manifest.jsonl"))}
    assert dealt != kept


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--videos=nowhere"], "--videos=nowhere: no such folder."),
        (["--videos=."], ".: no video in it or below"),
        (
            ["--videos=.", "--decisions=none.json"],
            "none.json: no such decisions file",
        ),
        (["--videos=.", "--language= "], "--language is empty"),
        (["--videos=.", "--min_s=51"], "--min_s=51.0 is more than --max_s=50.0"),
    ],
)
def test_build_ends_mistakes_in_one_line(arguments, text, tmp_path):
    out = tmp_path / "out"
    done = run("data_prep.build", "--language=sw", f"--out_dir={out}", *arguments)
    fails_in_one_line(done, text)
    assert not out.exists()


@pytest.mark.slow
def test_build_of_nothing_but_broken_videos_says_so(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    out = tmp_path / "out"
    done = run(
        "data_prep.build", f"--videos={tmp_path}", "--language=sw", f"--out_dir={out}"
    )
    fails_in_one_line(done, "none of 1 video can be used", "a.mp4", "cannot be opened")
    assert len(_read(out / "failures.jsonl")) == 1
    assert not (out / "manifest.jsonl").exists()
