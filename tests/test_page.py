"""The page in a browser: somebody speaks, and the right clip stands at its moment."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from served import engine, made, make_app, query, running

from avl_tf import media

sync_api = pytest.importorskip("playwright.sync_api")
__all__ = ["engine", "made", "query"]  # fixtures
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium (Debian's package) here"),
]


@pytest.fixture(scope="module")
def address(engine, made, tmp_path_factory):
    with running(make_app(engine, made[1], tmp_path_factory.mktemp("up"))) as address:
        yield address


@pytest.fixture(scope="module")
def browser(query):
    fake = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={query}",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *fake]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """The page, of which nothing may be wrong in the end."""
    context = browser.new_context(viewport={"width": 360, "height": 780})
    page, wrong, asked = context.new_page(), [], []
    # Chromium notes there whatever was refused; that the page says itself.
    page.on(
        "console",
        lambda said: wrong.append(said.text) if "of 422" not in said.text else None,
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#about:not(:empty)")
    yield page
    context.close()
    assert not wrong
    outside = [u for u in asked if not u.removeprefix("blob:").startswith(address)]
    assert asked and not outside


def _first_player(page):
    """The first hit's name and span, when its player stands ready."""
    page.wait_for_function(
        "() => { const v = document.querySelector('.card video');"
        " return v && v.readyState >= 1 && v.currentTime > 0; }"
    )
    card = page.locator(".card").first
    time = card.locator("video").evaluate("video => video.currentTime")
    return card.locator("h3").inner_text(), card.locator(".span").inner_text(), time


def test_who_speaks_finds_the_clip(page):
    button = page.locator("#record")
    button.hover()
    page.mouse.down()
    page.wait_for_function(
        "() => parseFloat(document.getElementById('record-label').textContent) > 1.5"
    )
    assert button.get_attribute("aria-pressed") == "true"
    page.mouse.up()
    found = _first_player(page)
    assert found == ("1. b.mp4", "0:03.0 – 0:06.0", 3.0)
    assert "The best: b.mp4" in page.locator("#status").inner_text()
    card = page.locator(".card").first
    card.locator("svg.wave").wait_for()
    video = card.locator("video")
    assert re.search(
        r"preview/first/2\.jpg\?start=3\.0&end=6\.0$", video.get_attribute("poster")
    )
    assert video.get_attribute("src").endswith("#t=3,6")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_player_stops_at_the_end_of_the_moment(page, made):
    page.set_input_files("#file", made[2][0])
    page.wait_for_selector(".card")
    starts = page.locator(".card .span").all_inner_texts()
    card = page.locator(".card").nth(starts.index("0:00.0 – 0:03.0"))
    card.scroll_into_view_if_needed()
    video = card.locator("video")
    video.evaluate("video => { video.muted = true; video.playbackRate = 2; }")
    video.evaluate("video => video.play()")
    card.locator("video").evaluate(
        "video => new Promise((done) => video.addEventListener('pause', done))"
    )
    # A browser tells the time some times a second, of a busy machine fewer.
    assert 2.9 < video.evaluate("video => video.currentTime") < 4.5


def test_keys_do_all_that_a_mouse_does(page):
    order = []
    for _ in range(6):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || 'skip'"))
    assert order == ["skip", "record", "file", "index", "output", "by"]
    page.focus("#record")
    page.keyboard.down("Enter")
    page.wait_for_function(
        "() => parseFloat(document.getElementById('record-label').textContent) > 1.5"
    )
    page.keyboard.up("Enter")
    assert _first_player(page)[0] == "1. b.mp4"
    page.locator(".more").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#query:has-text('More like b.mp4, 0:03.0')")
    assert page.evaluate("document.activeElement.id") == "results-title"
    page.locator(".card").first.wait_for()
    assert page.locator("[aria-live=polite]").count() == 1


def test_a_file_is_searched_by_and_the_model_switched(page, query):
    page.set_input_files("#file", query)
    assert _first_player(page)[0] == "1. b.mp4"
    page.select_option("#index", "second")
    page.wait_for_selector(".card video[src*='media/second/']")
    assert _first_player(page)[0] == "1. b.mp4"


def test_what_is_refused_is_said(page, tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    page.set_input_files("#file", tmp_path / "a.wav")
    page.wait_for_selector("#status.error")
    said = page.locator("#status").inner_text()
    assert said.startswith("a.wav: cannot be opened"), said
    assert said.endswith("Send a sound, a video or a picture."), said


def test_nothing_stays_of_a_search_before_one_that_failed(page, query, tmp_path):
    page.set_input_files("#file", query)
    page.wait_for_selector(".card")
    assert (
        page.locator("#query")
        .inner_text()
        .startswith("You searched by: query.wav, 4.0 s; the first 2 s were heard")
    )
    (tmp_path / "a.wav").write_text("no sound")
    page.set_input_files("#file", tmp_path / "a.wav")
    page.wait_for_selector("#status.error")
    assert not page.locator(".card").count()
    for part in ("#query", "#results-title"):
        assert page.locator(part).is_hidden()


HITS = [(0.532, True), (0.4, True), (0.1, False)]
REASONS = {
    True: "A score above 0.3 is a match.",
    False: "It is unlike all.",
    None: "x.",
}


@pytest.mark.parametrize(
    ("match", "headline", "foot"),
    [
        (True, "2 of 3 clips fit. The best: b.mp4, 0:03.0 to 0:06.0.", REASONS[True]),
        (False, "Nothing fits. It is unlike all. These are the nearest:", ""),
        (
            None,
            "3 clips. The best: b.mp4, 0:03.0 to 0:06.0. No one knows whether anything "
            "fits: x.",
            "",
        ),
    ],
)
def test_the_headline_says_what_fits_and_why(page, query, match, headline, foot):
    def answer(route):
        found = json.loads(route.fetch().text())
        (hit, *_) = found["hits"]
        found["hits"] = [
            hit | {"score": score, "match": match and fits, "rank": rank}
            for rank, (score, fits) in enumerate(HITS, 1)
        ]
        found |= {"match": match, "calibrated": REASONS[match], "error_rate": 0.1}
        route.fulfill(json=found)

    page.route("**/search?*", answer)
    page.set_input_files("#file", query)
    page.wait_for_selector(".card")
    assert page.locator("#status").inner_text() == headline
    assert page.locator("#calibrated").inner_text() == foot
    assert "score 0.53" in page.locator(".card").first.inner_text()


def test_the_sound_is_taken_of_videos_alone(page, made, tmp_path):
    media.write_image(tmp_path / "a.png", np.full((50, 60, 3), 90, np.uint8))
    page.select_option("#by", "audio")
    for path, by in ((tmp_path / "a.png", "auto"), (made[2][0], "audio")):
        with page.expect_response("**/search?*") as found:
            page.set_input_files("#file", path)
        assert f"by={by}" in found.value.url and found.value.ok


def test_a_file_that_comes_before_the_settings_waits_for_them(page, query):
    held = []
    page.route("**/about", lambda route: held.append(route))
    page.reload()
    page.set_input_files("#file", query)
    page.wait_for_timeout(200)
    assert page.locator("#status").inner_text() == "" and held
    held[0].continue_()
    page.wait_for_selector(".card")


def test_a_file_that_is_gone_is_told_in_its_card(page, made, query):
    os.rename(made[2][1], f"{made[2][1]}.moved")
    try:
        page.set_input_files("#file", query)
        page.wait_for_selector(".card .gone")
        told = page.locator(".card").first.locator(".gone").inner_text()
        assert "b.mp4: deleted or moved" in told
    finally:
        os.rename(f"{made[2][1]}.moved", made[2][1])
