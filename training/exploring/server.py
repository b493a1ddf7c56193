"""Serves the page of a run on this machine, to this machine: nobody else is answered, and no other page may ask."""

import json
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, unquote

from schemas.corpus import CorpusError
from training.exploring.explorer import Explorer
from training.inputs import InputError

HOST = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page may load its own files, ask its own server, and show a picture that was dropped in; nothing else."""
HEADERS = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
}  # fmt: skip
FILES = ("index.html", "style.css", "icon.svg", "elements.js", "map.js", "place.js", "page.js")
MOST_BYTES = 16 * 2**20
"""Of a query."""
CARDS = 24
_TYPES = {
    "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """Answers for one run on loopback."""

    daemon_threads = True

    def __init__(self, explorer: Explorer, port: int) -> None:
        """Listens; port 0 takes a free one.

        Raises:
            OSError: if the port is taken.
        """
        self.explorer = explorer
        folder = files("training.exploring") / "site"
        self.files = {name: (folder / name).read_bytes() for name in FILES}
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Answers with a file, a picture, or what the page asks."""
        if self._is_ours():
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
        if not self._is_ours():
            self.close_connection = True
            return
        if is_long:
            fact = f"The query has {length} bytes" if length else "The query does not say its length"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{fact}: send at most {MOST_BYTES:,} bytes.")
            return
        body = self.rfile.read(int(length))
        path, _, asked = self.path.partition("?")
        self._try(lambda: self._post(path.removeprefix("/"), dict(parse_qsl(asked)), body))

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the browser's own tools list requests."""

    def _get(self, path: str, asked: dict[str, str]) -> None:
        explorer, parts = self.server.explorer, path.split("/")
        if path in self.server.files:
            self._answer(HTTPStatus.OK, self.server.files[path], _TYPES[path.rpartition(".")[2]])
        elif path == "data/model":
            self._tell(explorer.describe())
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
                self._answer(HTTPStatus.OK, picture, "image/jpeg")
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

    def _is_ours(self) -> bool:
        """Refuses names that someone else let point here, and other pages' questions."""
        host = self.headers.get("Host", "")
        name = host.rpartition(":")[0] or host
        origin = self.headers.get("Origin")
        is_ours = name in (HOST, "localhost") and origin in (None, f"http://{host}")
        if not is_ours:
            self._refuse(HTTPStatus.FORBIDDEN, "This page is for this machine alone.")
        return is_ours

    def _tell(self, value: dict[str, Any]) -> None:
        self._answer(HTTPStatus.OK, json.dumps(value, separators=(",", ":")).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._answer(status, json.dumps({"error": sentence}).encode(), "application/json")

    def _answer(self, status: HTTPStatus, payload: bytes, media: str) -> None:
        with suppress(ConnectionError):  # a browser that has gone on to another question
            self.send_response(status)
            for name, value in {**HEADERS, "Content-Type": media, "Content-Length": str(len(payload))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(payload)
