"""Which of a file's tracks is heard and seen, and what is told of it."""

import pytest
from av.stream import Disposition
from made_media import make_media, numbered, sine
from made_tracks import Tone, Video, heard_hz, make_programs, make_tracks

from avl_tf import media
from avl_tf.media import languages
from avl_tf.media.file import MediaFile
from avl_tf.media.tracks import Track, Wanted, choose
from data_prep import checks, listening

TONES = (
    Tone(300, "swa"),
    Tone(1000, "eng", Disposition.default),
    Tone(2500, "fra", seconds=6),
)


def _notes(path, *wanted):
    notes = []
    with MediaFile(path, notes=notes, wanted=Wanted(*wanted)) as file:
        file.stream("audio")
        file.stream("video")
    return [note.kind for note in notes]


@pytest.fixture(scope="module", params=[".mkv", ".mp4", ".ts", ".m2ts", ".webm"])
def tagged(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("tracks") / f"tagged{request.param}"
    return make_tracks(path, TONES)


@pytest.mark.parametrize(
    ("language", "hz"),
    [
        ("sw", 300),
        ("swa", 300),
        ("Swahili", 300),
        ("swh", 300),
        ("en-US", 1000),
        ("ENG", 1000),
        ("fr", 2500),
        ("fre", 2500),
        ("fra", 2500),
    ],
)
def test_the_track_of_the_language_is_heard(tagged, language, hz):
    assert heard_hz(media.read_waveform(tagged, language=language)) == hz
    assert _notes(tagged, language) == []


def test_without_a_track_of_the_language_the_default_is_heard_and_told(tagged):
    chosen = {"und": "several tracks", "ja": "other language", "xyz": "other language"}
    for language, kind in chosen.items():
        assert _notes(tagged, language) == [kind]
    if not tagged.endswith("ts"):  # which does not say which one is the default
        assert heard_hz(media.read_waveform(tagged, language="ja")) == 1000
        assert heard_hz(media.read_waveform(tagged)) == 1000


def test_a_track_that_is_named_is_heard_whatever_the_language(tagged):
    for track, hz in ((0, 300), ("1", 1000), (2, 2500), ("sw", 300), ("fre", 2500)):
        waveform = media.read_waveform(tagged, language="en", audio_track=track)
        assert heard_hz(waveform) == hz
        assert _notes(tagged, "en", track) == []


@pytest.mark.parametrize("track", [3, "7", "ja", "swedish"])
def test_a_track_that_is_not_there_is_told_with_those_that_are(tagged, track):
    with pytest.raises(media.MediaError) as told:
        media.read_waveform(tagged, audio_track=track)
    text = str(told.value)
    assert f"its audio track {track} is not there" in text and "\n" not in text
    assert "0 swa" in text and "1 eng" in text and "2 fra" in text


@pytest.mark.parametrize("track", [-1, True, 1.5, "", " ", "-1", "1.5", [0]])
def test_what_names_no_track_is_refused(track):
    with pytest.raises(ValueError, match="audio_track is .* expected a number"):
        Wanted("sw", track)


def test_the_sound_of_a_track_ends_where_that_track_ends(tagged):
    for language, end_s in (("sw", 8), ("fr", 6)):
        with MediaFile(tagged, wanted=Wanted(language)) as file:
            assert float(file.sound_end()) == pytest.approx(end_s, abs=0.1)
        line = {"id": "a", "media": tagged, "language": language}
        finding, duration_s = listening.examine(line)
        assert finding is None and duration_s == pytest.approx(end_s, abs=0.1)


def test_checks_hear_the_track_that_is_extracted(tmp_path):
    silent = Tone(0, "eng", Disposition.default)
    path = make_tracks(tmp_path / "a.mkv", [silent, Tone(300, "swa")])
    line = {"id": "a", "media": path}
    assert listening.examine({**line, "language": "sw"})[0] is None
    assert listening.examine({**line, "language": "en"})[0].kind == "silent"
    assert listening.examine({**line, "audio_track": 1})[0] is None
    finding, _ = listening.examine({**line, "audio_track": 2})
    assert finding.kind == "silent" and "1 swa" in finding.detail
    notes = []
    listening.examine({**line, "language": "ja"}, notes=notes)
    (note,) = notes
    assert (note.kind, note.id, note.media) == ("other language", "a", path)


def test_of_tracks_of_one_language_the_recordings_own_is_heard(tmp_path):
    tones = [
        Tone(300, "eng", Disposition.comment),
        Tone(500, "eng", Disposition.visual_impaired),
        Tone(700, "eng"),
        Tone(900, "spa", Disposition.default),
    ]
    path = make_tracks(tmp_path / "a.mkv", tones)
    assert heard_hz(media.read_waveform(path, language="en")) == 700
    assert _notes(path, "en") == ["several tracks"]
    assert heard_hz(media.read_waveform(path, language="en", audio_track=1)) == 500
    assert _notes(path, "es") == []


def test_tracks_without_a_language_are_told(tmp_path):
    path = make_tracks(tmp_path / "a.avi", [Tone(300), Tone(1000)])
    assert _notes(path, "sw") == ["several tracks"]
    assert heard_hz(media.read_waveform(path, audio_track=1)) == 1000


@pytest.mark.parametrize(
    ("tag", "language", "kinds"),
    [
        ("eng", "sw", ["tagged otherwise"]),
        ("swa", "sw", []),
        ("und", "sw", []),
        ("eng", "und", []),
    ],
)
def test_one_track_is_heard_whatever_its_tag(tmp_path, tag, language, kinds):
    path = make_tracks(tmp_path / "a.mp4", [Tone(300, tag)])
    assert heard_hz(media.read_waveform(path, language=language)) == 300
    assert _notes(path, language) == kinds


@pytest.mark.parametrize(
    ("language", "hz", "width"),
    [("und", None, 320), ("sw", 300, 64), ("fr", 2500, 320), ("en", 1000, 320)],
)
def test_sound_and_pictures_are_of_one_program(tmp_path, language, hz, width):
    programs = [
        ([Tone(300, "swa"), Tone(700, "eng")], [Video(width=64)]),
        ([Tone(1000, "eng"), Tone(2500, "fra")], [Video(width=320)]),
    ]
    path = make_programs(tmp_path / "two.ts", programs)
    found = heard_hz(media.read_waveform(path, language=language))
    assert found == hz if hz else found in (1000, 2500)
    with MediaFile(path, wanted=Wanted(language)) as file:
        assert file.stream("video").width == width
    assert "several videos" in _notes(path, language)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("cover_first", [True, False])
def test_a_cover_is_not_the_video(tmp_path, suffix, cover_first):
    cover = Video(1, 640, "libx264" if suffix == ".ts" else "mjpeg")
    videos = [cover, Video(200, 64)] if cover_first else [Video(200, 64), cover]
    path = make_tracks(tmp_path / f"a{suffix}", [Tone(300)], videos)
    frames = media.read_frames(path, 5)
    assert frames.shape[1:] == (48, 64, 3) and len(frames) in (40, 41)
    assert _notes(path) == []


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(suffix, codec) for suffix in (".mp4", ".mkv", ".avi") for codec in ("mjpeg", "")]
    + [(".ts", "")],
)
def test_one_picture_beside_sound_is_told(tmp_path, suffix, codec):
    path = make_tracks(tmp_path / f"a{suffix}", [Tone(300)], [Video(1, 320, codec)])
    notes = []
    parts = list(media.decode(path, 16000, [media.View(5)], notes=notes))
    assert sum(index == 0 for index, _ in parts) == 1
    assert [note.kind for note in notes] == ["one picture"]
    assert not media.is_image(path)


def test_of_several_videos_one_is_seen_and_that_is_told(tmp_path):
    videos = [Video(200, 64), Video(200, 320, disposition=Disposition.default)]
    path = make_tracks(tmp_path / "a.mkv", [Tone(300)], videos)
    assert media.read_frames(path, 1).shape[2] == 320
    assert _notes(path) == ["several videos"]


def test_the_choice_prefers_language_then_sound_then_default_then_best():
    tracks = [
        Track(0, "pt-PT"),
        Track(1, "pt-BR", extras=("commentary",)),
        Track(2, "POR", default=True),
        Track(3, "eng,fra"),
        Track(4, "swa", decodable=False),
        Track(5),
    ]

    def number(language, best=5):
        return choose(tracks, best, Wanted(language))[0]

    assert [number(one) for one in ("pt", "pt-BR", "pt-PT")] == [2, 1, 0]
    assert [number(one) for one in ("en", "fr", "ja", "und")] == [3, 3, 2, 2]
    assert choose(tracks[3:], 5, Wanted("sw"))[0] == 5
    assert choose(tracks[3:], 3, Wanted("sw"))[0] == 3
    with pytest.raises(LookupError, match="4 cannot be decoded.*4 swa .no decoder"):
        choose(tracks, 5, Wanted("sw", 4))


def test_the_table_of_languages_is_consistent():
    rows = [line.split(" ") for line in languages._TABLE.splitlines()]
    twos, threes = [row[0] for row in rows], [row[1] for row in rows]
    older = [row[2] for row in rows if row[2].islower()]
    # As many as the list of the Library of Congress has.
    assert (len(rows), len(older)) == (184, 20)
    assert all(len(two) == 2 for two in twos) and twos == sorted(twos)
    assert all(len(three) == 3 for three in [*threes, *older])
    assert len({*twos, *threes, *older}) == 2 * 184 + 20
    names = [" ".join(row[2 + row[2].islower() :]) for row in rows]
    assert len(set(names)) == 184 and all(name[0].isupper() for name in names)
    for two, three in zip(twos, threes, strict=True):
        assert languages.code(two) == languages.code(three) == three
    assert set(languages._WIDER.values()) <= set(threes)


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        (("de", "ger", "deu", "German", "de_AT", "DE"), "deu"),
        (("zh", "chi", "zho", "zh-Hant-TW", "Chinese"), "zho"),
        (("iw", "he", "heb", "HEBREW"), "heb"),
        (("nb", "nob", "norwegian bokmål"), "nob"),
        (("English (US)", " en ", "eng"), "eng"),
        (("", "und", "mul", "zxx", "mis", "qaa", "UND"), ""),
        (("haw", "haw-US"), "haw"),
    ],
)
def test_tags_of_one_language_are_one_code(tags, code):
    assert {languages.code(tag) for tag in tags} == {code}


def test_languages_are_alike_by_degrees():
    assert languages.likeness("pt-BR", "pt_br") == 3
    assert languages.likeness("pt-BR", "por") == 2
    assert languages.likeness("no", "nob") == 1
    assert languages.likeness("nno", "nob") == 0
    assert languages.likeness("und", "und") == languages.likeness("sw", "sv") == 0


@pytest.mark.parametrize("suffix, codec", [(".ogg", "libopus"), (".ts", "aac")])
def test_a_clip_in_the_second_of_joined_files_is_not_beyond(tmp_path, suffix, codec):
    frames = [numbered(n) for n in range(100)] if suffix == ".ts" else []
    made = make_media(tmp_path / f"a{suffix}", frames, sine(4), audio_codec=codec)
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(2 * made.read_bytes())
    image = tmp_path / "a.png"
    media.write_image(image, numbered(0))
    clips = [{"start_s": 6.0, "end_s": 7.0}, {"start_s": 30.0, "end_s": 31.0}]
    line = {"id": "a", "media": str(path), "clips": clips, "image": str(image)}
    finding, duration_s = listening.examine(line)
    assert finding is None
    heard_s = len(media.read_waveform(path, 16000)) / 16000
    assert heard_s > 7 and duration_s == pytest.approx(heard_s, abs=0.1)
    assert list(checks.clips_beyond_end({**line, "duration_s": duration_s})) == [1]
