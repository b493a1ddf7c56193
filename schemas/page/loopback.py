"""A server for this machine alone: nobody else is answered, and no other page may ask or read."""

from argparse import ArgumentParser, ArgumentTypeError
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"
MEDIA = {
    "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}  # fmt: skip
"""Of a file of the page, by its name's end."""


class PortError(ValueError):
    """The port cannot be used: one sentence with fact, value, remedy."""


def add_port(parser: ArgumentParser, default: int) -> None:
    """Adds the option `--port` to a command that serves a page."""
    text = f"of loopback (default {default}; 0 takes a free one)"
    parser.add_argument("--port", type=_read_port, default=default, metavar="PORT", help=text)


def _read_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65536):
        raise ArgumentTypeError(f"{text} is none: give 0 ... 65535")
    return int(text)


class LoopbackServer(ThreadingHTTPServer):
    """Answers on loopback, each request in a thread of its own."""

    daemon_threads = True

    def __init__(self, port: int, handler: type["Handler"]) -> None:
        """Listens; port 0 takes a free one.

        Raises:
            PortError: if the port is taken.
        """
        try:
            super().__init__((HOST, port), handler)
        except OSError as error:
            raise PortError(f"Port {port} cannot be used ({error.strerror}): give --port 0 for a free one.") from error

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def serve_until_interrupted(self) -> None:
        """Says where the page is, and answers until Ctrl+C."""
        print(f"{self.address} (Ctrl+C ends it)", flush=True)
        with self, suppress(KeyboardInterrupt):
            self.serve_forever()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    policy = "default-src 'none'"
    """What the browser may load for the page (Content Security Policy)."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the browser's own tools list requests."""

    def is_ours(self) -> bool:
        """Tells whether the page itself asks: no other page, and not by a name that someone else let point here."""
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        return (host.rpartition(":")[0] or host) in (HOST, "localhost") and origin in (None, f"http://{host}")

    def answer(self, status: HTTPStatus, payload: bytes, media: str) -> None:
        """Sends an answer, without its payload where only the head was asked for."""
        headers = {
            "Content-Security-Policy": self.policy, "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store", "Content-Type": media, "Content-Length": str(len(payload)),
        }  # fmt: skip
        with suppress(ConnectionError):  # a browser that has gone on to something else
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(payload)
