"""Pages as a browser without script takes them: what it would act upon, and its forms."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import NamedTuple

from tests.web.site import Site

ALLOWED_LINKS = re.compile(r"(/[^/\\]|/$|#|\?|http://127\.0\.0\.1:60\d\d/$)")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\u202e]")


class Button(NamedTuple):
    """A button: what is read out of it, and where pressing it posts to."""

    label: str
    path: str


class Page(HTMLParser):
    """Collects what a browser would act upon."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.buttons: list[Button] = []
        """Those that post."""
        self._form: dict[str, str | None] = {}
        self._button: tuple[int, str] | None = None
        self.feed(text)

    @property
    def text(self) -> str:
        """Everything that is read."""
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "form":
            self._form = given
        if tag == "button" and self._form.get("method") == "post":
            self._button = len(self.words), given.get("formaction") or self._form.get("action") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "button" and self._button is not None:
            start, path = self._button
            self.buttons.append(Button(" ".join("".join(self.words[start:]).split()), path))
            self._button = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def path_of(self, label: str) -> str:
        """Return where the button with this label posts to."""
        [path] = [button.path for button in self.buttons if button.label == label]
        return path


async def load(site: Site, path: str, status: int = 200) -> Page:
    """Load a page as a browser does."""
    async with site.client.get(site.url + path, headers={"Accept": "text/html"}) as response:
        text = await response.text()
        assert response.status == status, text
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert not _CONTROL.search(text)
    return Page(text)


async def press(site: Site, page: Page, label: str, status: int = 200) -> Page:
    """Press a button as a browser does, and load the page it is sent to."""
    headers = {"Origin": site.url, "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
    path = page.path_of(label)
    async with site.client.post(site.url + path, headers=headers, allow_redirects=False) as response:
        if response.status == 303:
            return await load(site, response.headers["Location"], status)
        assert response.status == status, await response.text()
        return Page(await response.text())


def assert_harmless(page: Page) -> None:
    """Check that nothing on a page runs or leads elsewhere."""
    for tag, attributes in page.tags:
        assert tag not in {"iframe", "object", "embed", "base"}
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        if tag == "script":
            assert attributes["src"] == "/static/start.js"
        if tag == "img":
            assert attributes["src"] == "/static/icon.svg"
        for name in ("href", "action", "formaction"):
            assert ALLOWED_LINKS.match(attributes.get(name) or "#"), attributes


def assert_labelled(page: Page) -> None:
    """Check that a screen reader has something to say for every field and button, and no two ids clash."""
    labelled = {attributes.get("for") for tag, attributes in page.tags if tag == "label"}
    fields = {
        attributes.get("id")
        for tag, attributes in page.tags
        if tag in {"input", "select"} and attributes.get("type") != "hidden"
    }
    assert fields <= labelled
    assert all(button.label for button in page.buttons)
    labels = [button.label for button in page.buttons]
    assert len(labels) == len(set(labels)), "two buttons are read out alike"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = {
        attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes
    }
    assert named <= set(ids)


def links(page: Page) -> list[str]:
    """Return where the links of a page lead within this installation, each once, in their order."""
    found = [given.get("href") or "" for tag, given in page.tags if tag == "a"]
    return [link for link in dict.fromkeys(found) if link.startswith(("/", "?"))]
