"""Fail if a page of the built site would load anything from the network.

    python docs/offline.py site

Links that a reader may follow are no business of this; what a browser fetches by itself is.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LOADING = {
    **dict.fromkeys(("audio", "embed", "iframe", "input", "script", "track"), ("src",)),
    **dict.fromkeys(("img", "source"), ("src", "srcset")),
    **dict.fromkeys(("image", "link", "use"), ("href",)),
    "object": ("data",),
    "video": ("src", "poster"),
}
"""Attributes whose address a browser fetches by itself."""
NAMED_ONLY = {"author", "bookmark", "canonical", "help", "license", "next", "prev", "search", "up"}
"""Relations of a link element that a browser does not fetch."""
EXTERNAL = re.compile(r"(?i)(?:[a-z][a-z0-9+.-]*:)?//")
IN_STYLE = re.compile(r"(?i)(?:url\(\s*['\"]?|@import\s+['\"])((?:[a-z]+:)?//[^'\")\s]+)")
IN_SCRIPT = re.compile(r"(?i)(?:(?:fetch|import|importScripts)\s*\(|\.src\s*=)\s*['\"`]((?:https?:)?//[^'\"`]+)")


class _Loads(HTMLParser):
    """Addresses that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        values = {name.split(":")[-1]: value or "" for name, value in attrs}
        named = tag == "link" and set(values.get("rel", "").split()) <= NAMED_ONLY
        for name, value in values.items():
            if name in LOADING.get(tag, ()) and not named and EXTERNAL.match(value.strip()):
                self.found.append(value.strip())
            if name == "style":
                self.found += IN_STYLE.findall(value)
        refresh = values.get("http-equiv", "").lower() == "refresh"
        if tag == "meta" and refresh and EXTERNAL.search(values.get("content", "")):
            self.found.append(values["content"])

    def handle_endtag(self, _tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.found += IN_STYLE.findall(data)
        elif self._inside == "script":
            self.found += IN_SCRIPT.findall(data)


def loads(text: str, suffix: str) -> list[str]:
    """Addresses outside the site that a page (``.html``), a style (``.css``) or a script (``.js``) loads."""
    if suffix == ".css":
        return IN_STYLE.findall(text)
    if suffix == ".js":
        return IN_SCRIPT.findall(text)
    page = _Loads()
    page.feed(text)
    return page.found


def offences(site: Path) -> Iterator[str]:
    """One line for each file of a site and address outside it that it loads."""
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".css", ".js"):
            for address in dict.fromkeys(loads(path.read_text(encoding="utf-8"), path.suffix)):
                yield f"{path.relative_to(site)} loads {address}"


def main(site: Path) -> None:
    if not (site / "index.html").is_file():
        sys.exit(f"a built site must hold index.html: {site} does not; run `make docs`")
    found = list(offences(site))
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
