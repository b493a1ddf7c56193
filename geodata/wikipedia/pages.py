"""Pages of a MediaWiki XML dump, read as a stream: no tree is built, and text that is not wanted is not even copied.

A dump has no document type. One that has is refused, so that it can declare no entities, inner or outer; expat itself
never opens anything.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from xml.parsers import expat

from geodata.wikipedia.stream import DumpError, read_chunks

_FIELDS = frozenset(
    [("siteinfo", "base"), ("namespaces", "namespace"), ("page", "title"), ("page", "ns"), ("page", "id")]
    + [("revision", "id"), ("revision", "text")]
)
"""Elements whose text is read, each with the one around it."""
_EMBEDDED = frozenset(["6", "14"])
"""Namespaces of files and of categories: a link to them shows no text, or a picture."""
_PRIMARY_NAMES = frozenset(["file", "image", "media", "category"])
"""They have these names in every language."""
_BUFFER_BYTES = 1 << 16


@dataclass(frozen=True)
class Page:
    """The newest revision of one page."""

    id: int
    """Number within the wiki."""
    namespace: int
    """0 for articles."""
    title: str
    """With spaces."""
    is_redirect: bool
    """True where it only points to another."""
    revision: int
    """Number within the wiki; 0 where the page was not wanted."""
    text: str
    """Wikitext; "" where the page was not wanted."""


class Pages:
    """The pages of one file."""

    def __init__(self, path: str, wanted: Callable[[int], bool]) -> None:
        """Opens nothing yet.

        Args:
            path: XML file, packed or not.
            wanted: says for the number of an article whether its text is.
        """
        self.host = ""
        """The wiki's host as the head of the file gives it, known with the first page."""
        self.embedded = set(_PRIMARY_NAMES)
        """Names of the namespaces of files and categories, lower case, known with the first page."""
        self._path, self._wanted = path, wanted
        self._names: list[str] = []
        self._pieces: list[str] = []
        self._values: dict[tuple[str, str], str] = {}
        self._is_redirect, self._namespace = False, ""
        self._done: list[Page] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text, self._parser.buffer_size = True, _BUFFER_BYTES
        self._parser.StartElementHandler, self._parser.EndElementHandler = self._start, self._end
        self._parser.StartDoctypeDeclHandler = self._refuse

    def __iter__(self) -> Iterator[Page]:
        """Yields all pages of all namespaces. Raises DumpError."""
        for chunk in read_chunks(self._path):
            self._parse(chunk, is_last=False)
            yield from self._take()
        self._parse(b"", is_last=True)
        yield from self._take()

    def _parse(self, chunk: bytes, *, is_last: bool) -> None:
        name = Path(self._path).name
        try:
            self._parser.Parse(chunk, is_last)
        except expat.ExpatError as error:
            what = "is cut off" if is_last else "is no well-formed XML"
            raise DumpError(f"{name} {what} ({error}): give pages-articles XML, or fetch it again.") from error
        if is_last and self._values.get(("", "root")) != "mediawiki":
            raise DumpError(f"{name} is XML, but no MediaWiki dump: give pages-articles XML.")

    def _take(self) -> list[Page]:
        done, self._done = self._done, []
        return done

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        around = self._names[-1] if self._names else ""
        self._names.append(name)
        if not around:
            self._values["", "root"] = name
        elif name == "page":
            self._is_redirect = False
        elif name == "redirect":
            self._is_redirect = True
        elif (around, name) in _FIELDS and (name != "text" or self._is_wanted()):
            self._namespace = attributes.get("key", "")
            self._pieces.clear()
            self._parser.CharacterDataHandler = self._pieces.append

    def _end(self, name: str) -> None:
        self._names.pop()
        around = self._names[-1] if self._names else ""
        if self._parser.CharacterDataHandler is not None:
            self._parser.CharacterDataHandler = None
            self._keep(around, name, "".join(self._pieces))
        if name == "page":
            self._done.append(self._make())
            for field in _FIELDS:
                self._values.pop(field, None)

    def _keep(self, around: str, name: str, value: str) -> None:
        if name == "base":
            self.host = urlsplit(value.strip()).hostname or ""
        elif name == "namespace":
            if self._namespace in _EMBEDDED:
                self.embedded.add(value.strip().lower())
        else:
            self._values[around, name] = value

    def _is_wanted(self) -> bool:
        if self._is_redirect or self._values.get(("page", "ns")) != "0":
            return False
        return self._wanted(self._number("page", "id"))

    def _make(self) -> Page:
        text = self._values.get(("revision", "text"))
        revision = 0 if text is None else self._number("revision", "id")
        title = self._values.get(("page", "title"), "").strip()
        number, namespace = self._number("page", "id"), self._number("page", "ns")
        return Page(number, namespace, title, self._is_redirect, revision, text or "")

    def _number(self, around: str, name: str) -> int:
        value = self._values.get((around, name), "")
        if not value.strip().lstrip("-").isdecimal():
            line = self._parser.CurrentLineNumber
            raise DumpError(
                f"{Path(self._path).name}, line {line}: a page has the {around} {name} {value!r}, which is no number: "
                "give pages-articles XML, or fetch it again."
            )
        return int(value)

    def _refuse(self, *_: object) -> None:
        raise DumpError(f"{Path(self._path).name} declares a document type, which no MediaWiki dump does: refused.")
