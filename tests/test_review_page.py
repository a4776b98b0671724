"""The review page: whole in itself, and safe with any file name."""

import html.parser
import json
import os
import urllib.parse

import pytest

from data_prep.builder import decisions, review_page
from data_prep.builder.clip_selection import VideoClip
from data_prep.builder.decisions import Decisions

ODD = "more/a<b>&'\"#%41?=é </script><script>alert(1)</script>.mp4"


class _Page(html.parser.HTMLParser):
    """Collects the scripts of a page and the addresses that it names."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.addresses, self._inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._inside = tag == "script"
        names = dict(attributes)
        self.addresses += [names[k] for k in ("src", "href", "srcset") if k in names]
        if self._inside:
            self.scripts.append("")

    def handle_data(self, text):
        if self._inside:
            self.scripts[-1] += text

    def handle_endtag(self, tag):
        self._inside = False


@pytest.fixture
def page(tmp_path):
    paths = {
        "a.mp4": str(tmp_path / "videos" / "a.mp4"),
        ODD: f"{tmp_path}/videos/{ODD}",
    }
    splits = {
        "train": [VideoClip(ODD, 1.5, 9.0), VideoClip(ODD, 20.0, 30.0)],
        "val": [VideoClip("a.mp4", 2.0, 8.0)],
    }
    decided = Decisions(clips={"a.mp4@2.00-8.00": "accepted"})
    folder = str(tmp_path / "out" / "review")
    path = review_page.write(folder, splits, paths, decided, "sw")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    return folder, paths, splits, text


def test_page_needs_nothing_from_elsewhere(page):
    _, _, _, text = page
    assert _Page(text).addresses == []
    assert "://" not in text and "@import" not in text and "url(" not in text


def test_page_holds_the_clips_whatever_their_names(page):
    folder, paths, splits, text = page
    scripts = _Page(text).scripts
    assert len(scripts) == 2, "a file name has broken out of the data"
    data = json.loads(scripts[0])
    assert [clip["video"] for clip in data["clips"]] == [ODD, ODD, "a.mp4"]
    assert [clip["split"] for clip in data["clips"]] == ["train", "train", "val"]
    assert data["clips"][0]["start_s"] == 1.5 and data["clips"][0]["end_s"] == 9.0
    assert data["decided"]["clips"] == {"a.mp4@2.00-8.00": "accepted"}
    assert data["format"] == decisions.FORMAT
    assert data["videos"].keys() == paths.keys()
    for video, address in data["videos"].items():
        link = urllib.parse.urlsplit(address)
        assert not (link.scheme or link.query or link.fragment)
        found = os.path.normpath(os.path.join(folder, urllib.parse.unquote(link.path)))
        assert found == paths[video]


def test_pictures_are_made_once(page):
    folder, paths, splits, _ = page
    clips = [clip for its in splits.values() for clip in its]
    tasks = review_page.missing_pictures(folder, clips, paths)
    times = {task.path: [time_s for time_s, _ in task.pictures] for task in tasks}
    assert times == {paths[ODD]: [5.25, 25.0], paths["a.mp4"]: [5.0]}
    names = [path for task in tasks for _, path in task.pictures]
    data = json.loads(_Page(page[3]).scripts[0])
    assert names == [os.path.join(folder, clip["picture"]) for clip in data["clips"]]
    for name in names[1:]:
        os.makedirs(os.path.dirname(name), exist_ok=True)
        open(name, "w").close()
    (task,) = review_page.missing_pictures(folder, clips, paths)
    assert task.pictures == ((5.25, names[0]),)
