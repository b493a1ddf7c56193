"""Serves a site on this machine, to this machine."""

from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from pipelines.exploring.site import Site
from schemas.corpus import CorpusError
from schemas.page.loopback import MEDIA, Handler, LoopbackServer

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The page may load its own files and pictures that came with them, and nothing from anywhere else."""


class Server(LoopbackServer):
    """Answers for one site."""

    def __init__(self, site: Site, port: int) -> None:
        """Listens; port 0 takes a free one.

        Raises:
            PortError: if the port is taken.
        """
        self.site = site
        super().__init__(port, _Handler)


class _Handler(Handler):
    """One request."""

    server: Server
    policy = POLICY

    def do_GET(self) -> None:  # noqa: N802 - the name that the library calls
        """Answers with a file of the site."""
        if not self.is_ours():
            self.answer(HTTPStatus.FORBIDDEN, b"This page is for this machine alone.\n", "text/plain")
            return
        path = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        try:
            payload = self.server.site.read(path)
        except (OSError, CorpusError) as error:
            text = f"{path} cannot be made: {error}\n"
            self.answer(HTTPStatus.INTERNAL_SERVER_ERROR, text.encode(), "text/plain; charset=utf-8")
            return
        if payload is None:
            self.answer(HTTPStatus.NOT_FOUND, b"There is no such file.\n", "text/plain")
        else:
            self.answer(HTTPStatus.OK, payload, MEDIA[path.rpartition(".")[2]])

    do_HEAD = do_GET  # noqa: N815 - the name that the library calls
