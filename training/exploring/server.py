"""Serves the page of a run on this machine, to this machine."""

import json
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

from schemas.corpus import CorpusError
from schemas.page import read_site
from schemas.page.loopback import MEDIA, Handler, LoopbackServer
from schemas.page.pack import pack_outlines
from training.exploring.explorer import Explorer
from training.inputs import InputError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page may load its own files, ask its own server, and show a picture that was dropped in; nothing else."""
FILES = ("index.html", "style.css", "heat.js", "region.js", "place.js", "page.js")
"""The page's own, besides those that it shares."""
MOST_BYTES = 16 * 2**20
"""Of a query."""
CARDS = 24


class Server(LoopbackServer):
    """Answers for one run."""

    def __init__(self, explorer: Explorer, port: int) -> None:
        """Listens; port 0 takes a free one.

        Raises:
            PortError: if the port is taken.
        """
        self.explorer = explorer
        self.files = read_site("training.exploring", FILES)
        super().__init__(port, _Handler)

    @cached_property
    def outlines(self) -> bytes:
        """What `pack_outlines` returns, as JSON."""
        return _encode(pack_outlines())


class _Handler(Handler):
    """One request."""

    server: Server
    policy = POLICY

    def do_GET(self) -> None:
        """Answers with a file, a picture, or what the page asks."""
        if self._admit():
            path, _, asked = self.path.partition("?")
            name = unquote(path).removeprefix("/") or "index.html"
            self._try(lambda: self._get(name, dict(parse_qsl(asked))))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Answers a search: `search/VIEW?target=VIEW` with the query as the body, or with `&key=CELL` without one."""
        length = self.headers.get("Content-Length", "")
        is_long = not (length.isascii() and length.isdigit() and len(length) < 12) or int(length) > MOST_BYTES
        if is_long:
            self.close_connection = True  # what it sends is not read
        if not self._admit():
            self.close_connection = True
            return
        if is_long:
            fact = f"The query has {length} bytes" if length else "The query does not say its length"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{fact}: send at most {MOST_BYTES:,} bytes.")
            return
        body = self.rfile.read(int(length))
        path, _, asked = self.path.partition("?")
        self._try(lambda: self._post(path.removeprefix("/"), dict(parse_qsl(asked)), body))

    def _get(self, path: str, asked: dict[str, str]) -> None:
        explorer, parts = self.server.explorer, path.split("/")
        if path in self.server.files:
            self.answer(HTTPStatus.OK, self.server.files[path], MEDIA[path.rpartition(".")[2]])
        elif path == "data/model":
            self._tell(explorer.describe())
        elif path == "data/outlines":
            self.answer(HTTPStatus.OK, self.server.outlines, "application/json")
        elif path == "data/heat":
            self._tell(explorer.heat(asked.get("query", "")))
        elif len(parts) == 3 and parts[:2] == ["data", "place"]:
            self._tell(explorer.place(parts[2]))
        elif len(parts) == 3 and parts[:2] == ["data", "patch"]:
            self._tell(explorer.patch(parts[2], asked.get("query", "")))
        elif len(parts) == 3 and parts[0] == "pictures":
            picture = explorer.picture(parts[1], parts[2].removesuffix(".jpg"))
            if picture is None:
                self._refuse(HTTPStatus.NOT_FOUND, "There is no such picture.")
            else:
                self.answer(HTTPStatus.OK, picture, "image/jpeg")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such file.")

    def _post(self, path: str, asked: dict[str, str], body: bytes) -> None:
        if not path.startswith("search/"):
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such question.")
            return
        explorer, view = self.server.explorer, path.removeprefix("search/")
        key = asked.get("key")
        query = explorer.read_query(view, body) if key is None else explorer.take_query(view, key)
        self._tell(explorer.search(query, asked.get("target", ""), CARDS))

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except InputError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except (CorpusError, OSError) as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def _admit(self) -> bool:
        """Refuses names that someone else let point here, and other pages' questions."""
        is_ours = self.is_ours()
        if not is_ours:
            self._refuse(HTTPStatus.FORBIDDEN, "This page is for this machine alone.")
        return is_ours

    def _tell(self, value: dict[str, Any]) -> None:
        self.answer(HTTPStatus.OK, _encode(value), "application/json")

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self.answer(status, _encode({"error": sentence}), "application/json")


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
