"""Pages in a folder, opened in Chromium from there, and the TextGrids beside them.

A test takes the fixture `browser`, imported from here; it skips without Chromium.
"""

import contextlib
import pathlib
import re
import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no chromium (Debian's package) here")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, path, width=360, **context):
    """The page, of which nothing may be wrong in the end, or come from elsewhere."""
    context = browser.new_context(viewport={"width": width, "height": 780}, **context)
    page, wrong, asked = context.new_page(), [], []
    page.on("console", lambda said: wrong.append(said.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    folder = pathlib.Path(path).resolve().parent.as_uri()
    page.goto(pathlib.Path(path).resolve().as_uri())
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert not wrong
    assert all(url.startswith((folder, "data:", "blob:")) for url in asked)


def read_textgrid(text):
    """The end and the tiers of a long TextGrid: its numbers and strings, in order."""
    tokens = re.findall(r'"(?:[^"]|"")*"|(?<![\[\w.])\d+(?:\.\d+)?(?![\]\w.])', text)
    assert text.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\n')
    values = iter(
        t[1:-1].replace('""', '"') if t[0] == '"' else float(t) for t in tokens[2:]
    )
    assert next(values) == 0
    end, tiers = next(values), {}
    for _ in range(int(next(values))):
        assert next(values) == "IntervalTier"
        name = next(values)
        assert (next(values), next(values)) == (0, end)
        tiers[name] = [
            (next(values), next(values), next(values)) for _ in range(int(next(values)))
        ]
    assert next(values, None) is None
    return end, tiers
