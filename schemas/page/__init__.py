"""What the page of a corpus and the page of a run have in common: files, packed numbers, a server on loopback.

A page is plain HTML, CSS and JavaScript without a build step; nothing in it comes from another host.
"""

from collections.abc import Iterable
from importlib.resources import files

SHARED = ("base.css", "icon.svg", "elements.js", "map.js", "gestures.js")
"""Files that every page loads before its own."""


def read_site(package: str, names: Iterable[str]) -> dict[str, bytes]:
    """Returns the files of a page by name: the shared ones, and its own from the folder `site` of its package."""
    shared, own = files("schemas.page") / "site", files(package) / "site"
    return {
        **{name: (shared / name).read_bytes() for name in SHARED},
        **{name: (own / name).read_bytes() for name in names},
    }
