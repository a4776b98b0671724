"""What an offline page is made of: excerpts, key frames, the page, TextGrid, WebVTT."""

import functools
import html
import os
import re

import numpy as np
import pytest
from made_media import find_chirp, make_media, numbered, read_number, with_chirp
from offline_pages import browser, opened, read_textgrid

from avl_tf import exhibits, media
from avl_tf.errors import MediaError, UserError
from avl_tf.exhibits import media as cuts
from avl_tf.exhibits import page, sources, spans
from avl_tf.exhibits.spans import Span
from avl_tf.manifest import write_manifest

__all__ = ["browser"]  # a fixture
HOSTILE = "a\"'<b>&amp; --> </script><script>alert(1)</script>\n\n<img src=x>"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """20 s: each frame shows its number, and a chirp sounds at 12.4 s."""
    path = tmp_path_factory.mktemp("media") / "video.mkv"
    frames = (numbered(i) for i in range(200))
    return str(make_media(path, frames, with_chirp(20, 12.4), fps=10))


@pytest.fixture(scope="module")
def folder(video, tmp_path_factory):
    """A page with a video, a sound, an image, and texts that look like markup."""
    made = tmp_path_factory.mktemp("pages") / "page"
    sound = tmp_path_factory.mktemp("sound") / "s.wav"
    media.write_wav(sound, with_chirp(4, 1, 16000).astype(np.float32), 16000)
    with exhibits.replacing(str(made)) as out:
        cards = [
            page.Card(
                HOSTILE,
                [HOSTILE],
                cuts.excerpt(video, 12, 14, out, HOSTILE),
                cuts.key_frame(video, 13, out, HOSTILE),
                0.5,
                1.0,
                True,
            ),
            page.Card("sound", (), cuts.excerpt(sound, 0, 3, out, "sound")),
            page.Card("frame", (), "", cuts.key_frame(video, 3, out, "frame")),
        ]
        parts = [
            page.Heading(HOSTILE, 3, HOSTILE),
            page.Table(["t"], [[(HOSTILE, HOSTILE)]], 1, [False], [HOSTILE]),
            page.Cards(cards, HOSTILE),
            page.Data("told", {"text": HOSTILE}),
        ]
        text = page.html(
            HOSTILE,
            parts,
            "window.told = JSON.parse(document.getElementById('told').textContent);",
        )
        with open(os.path.join(out, "index.html"), "w", encoding="utf-8") as file:
            file.write(text)
    return made


def test_an_excerpt_holds_the_sound_and_the_picture_of_its_span(video, tmp_path):
    out = tmp_path / cuts.excerpt(video, 11.9, 14.1, str(tmp_path), "x-1")
    assert out == tmp_path / "media" / "x-1.mp4"
    assert media.duration_s(out) == pytest.approx(2.2, abs=0.1)
    assert find_chirp(media.read_waveform(out)) == pytest.approx(0.5, abs=0.01)
    numbers = [read_number(frame) for frame in media.iter_frames(out, 5)]
    assert numbers[0] == 119 and numbers[-1] in (139, 140, 141)
    assert out.stat().st_size < 200_000


def test_what_is_there_is_taken_as_it_is(video, tmp_path):
    for make in (cuts.key_frame, functools.partial(cuts.excerpt, video, 1)):
        args = (video, 1) if make is cuts.key_frame else (2,)
        out = tmp_path / make(*args, str(tmp_path), "same")
        out.write_bytes(b"x")
        make(*args, str(tmp_path), "same")
        assert out.read_bytes() == b"x"


def test_a_key_frame_is_that_of_its_moment(video, tmp_path):
    for at_s, number in ((7.3, 73), (0, 0), (-1, 0), (500, 190)):
        name = cuts.key_frame(video, at_s, str(tmp_path), f"k{at_s:g}")
        frame = media.read_image(tmp_path / name)[..., :3]
        assert read_number(frame) == pytest.approx(number, abs=1)


def test_sound_alone_images_and_files_without_sound(video, tmp_path):
    folder = str(tmp_path)
    waveform = with_chirp(4, 1, 16000).astype(np.float32)
    media.write_wav(tmp_path / "s.wav", waveform, 16000)
    name = cuts.excerpt(tmp_path / "s.wav", 0.5, 9, folder, "sound")
    assert name == "media/sound.m4a"
    assert find_chirp(media.read_waveform(tmp_path / name)) == pytest.approx(0.5, 0.01)
    assert cuts.key_frame(tmp_path / "s.wav", 1, folder, "sound") == ""
    with pytest.raises(MediaError, match=r"s\.wav: no sound from 7"):
        cuts.excerpt(tmp_path / "s.wav", 7, 9, folder, "behind")

    media.write_image(tmp_path / "i.png", numbered(77, 601, 901))
    assert cuts.excerpt(tmp_path / "i.png", 0, 1, folder, "image") == ""
    name = cuts.key_frame(tmp_path / "i.png", 0, folder, "image")
    image = media.read_image(tmp_path / name)[..., :3]
    assert read_number(image) == 77 and image.shape[0] == 240

    make_media(tmp_path / "mute.mp4", [numbered(i) for i in range(30)], fps=10)
    name = cuts.excerpt(tmp_path / "mute.mp4", 1, 2, folder, "mute")
    assert media.duration_s(tmp_path / name) == pytest.approx(1, abs=0.1)


def test_missing_media_are_named(tmp_path):
    for make in (cuts.excerpt, cuts.key_frame):
        args = (0, 1) if make is cuts.excerpt else (0,)
        with pytest.raises(UserError, match=r"gone\.mp4: no such media file"):
            make(tmp_path / "gone.mp4", *args, str(tmp_path), "x")
    tasks = [
        functools.partial(cuts.key_frame, f"{n}.mp4", 0, str(tmp_path), "x")
        for n in range(3)
    ]
    with pytest.raises(UserError, match=r"0\.mp4"):
        cuts.at_once(tasks, "frames")


def test_names_are_plain_and_stay_apart(video, tmp_path):
    names = ["a/b", "a:b", "../../x", "ö" * 300, "", "é", "."]
    made = [cuts.key_frame(video, 1, str(tmp_path), name) for name in names]
    assert len(set(made)) == len(names)
    assert all(re.fullmatch(r"frames/[A-Za-z0-9_-]+\.jpg", name) for name in made)


def test_the_page_opens_in_a_browser_and_plays(browser, folder):
    with opened(browser, folder / "index.html") as shown:
        assert shown.evaluate("window.told.text") == HOSTILE
        assert shown.locator("h1").text_content() == HOSTILE
        assert shown.locator("h3").get_attribute("id") == HOSTILE
        assert shown.locator("script").count() == 3
        assert shown.locator("li.marked").count() == 1
        assert shown.evaluate(
            "Promise.all([...document.images].map(i => {i.loading = 'eager';"
            " return i.decode()})).then(() => document.images[0].naturalWidth)"
        )
        video = shown.locator("video")
        video.evaluate("v => { v.muted = true; return v.play(); }")
        shown.wait_for_function("document.querySelector('video').currentTime > 0.4")
        shown.wait_for_function("document.querySelector('video').paused")
        assert video.evaluate("v => v.currentTime") == pytest.approx(0.5, abs=0.1)
        assert video.evaluate("v => v.videoHeight") == 240
        audio = shown.locator("audio")
        audio.evaluate("a => { a.muted = true; return a.play(); }")
        assert audio.evaluate("a => a.duration") == pytest.approx(3, abs=0.1)


def test_an_exhibit_replaces_only_an_exhibit(folder, tmp_path):
    def write(target, *names):
        with exhibits.replacing(str(target)) as out:
            for name in ("index.html", *names):
                with open(os.path.join(out, name), "w") as file:
                    file.write(page.html("new", []))

    target = tmp_path / "out"
    write(target, "a.tsv")
    write(f"{target}/", "a.tsv")
    (target / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"out: it holds notes\.txt"):
        write(target, "a.tsv")
    assert (target / "notes.txt").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    write(other)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "index.html").write_text("<p>mine")
    (tmp_path / "file").write_text("mine")
    for place in ("full", "file"):
        with pytest.raises(UserError, match=f"{place}: there is something else"):
            write(tmp_path / place)
    with pytest.raises(RuntimeError), exhibits.replacing(str(other)):
        raise RuntimeError
    assert sorted(os.listdir(tmp_path)) == ["file", "full", "other", "out"]
    assert page.is_ours(other / "index.html")
    with pytest.raises(UserError, match="local"):
        write("s3://bucket/page")


def test_a_textgrid_is_filled_from_beginning_to_end():
    given = {
        'the "first"': [Span(2, 3.5, 'say "a"\nb'), Span(0.5, 1, "x")],
        "empty": [],
        "beyond": [Span(-1, 0.25, "early"), Span(4, 9, "late"), Span(7, 8, "out")],
        "over": [Span(1, 3, "a"), Span(2, 4, "b"), Span(1.5, 1.5, "no length")],
    }
    end, tiers = read_textgrid(spans.textgrid(5.0000004, given))
    assert end == 5
    assert tiers == {
        'the "first"': [
            (0, 0.5, ""),
            (0.5, 1, "x"),
            (1, 2, ""),
            (2, 3.5, 'say "a" b'),
            (3.5, 5, ""),
        ],
        "empty": [(0, 5, "")],
        "beyond": [(0, 0.25, "early"), (0.25, 4, ""), (4, 5, "late")],
        "over": [(0, 1, ""), (1, 2, "a"), (2, 3, "a / b"), (3, 4, "b"), (4, 5, "")],
    }
    for wrong in (0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="duration_s"):
            spans.textgrid(wrong, {})


def test_webvtt_shows_any_text_as_it_is():
    text = spans.webvtt([Span(3599.9996, 3600, HOSTILE), Span(0.5, 2, "ö & <i>")])
    head, first, second = text.removesuffix("\n").split("\n\n")
    assert head == "WEBVTT"
    assert first == "00:00:00.500 --> 00:00:02.000\nö &amp; &lt;i&gt;"
    times, shown = second.split("\n")
    assert times == "01:00:00.000 --> 01:00:00.001"
    assert html.unescape(shown) == " ".join(HOSTILE.split())
    assert "-->" not in shown and "<" not in shown
    assert spans.webvtt([]) == "WEBVTT\n"


def test_sources_are_those_of_the_records(tmp_path):
    path = str(tmp_path / "manifest.jsonl")
    write_manifest(path, [{"id": "a", "media": "a.mp4", "labels": {"x": 1}}])
    found = sources.from_manifest(path)
    assert found["a"].media == str(tmp_path / "a.mp4") and found["a"].labels == {"x": 1}
    with pytest.raises(UserError, match=r"1 of 1 media files are not.*a\.mp4"):
        sources.require(found, ["a"], path)
    (tmp_path / "a.mp4").write_bytes(b"x")
    sources.require(found, ["a"], path)
    with pytest.raises(UserError, match="1 of 2 records are not in it.*is b"):
        sources.require(found, ["a", "b", "b"], path)
