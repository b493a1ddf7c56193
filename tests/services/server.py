"""A threaded HTTP server on loopback with switchable faults: the ground on which doubles stand."""

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes = b""
    line: str = ""
    """The request line as it came, for looking for secrets."""


@dataclass
class Reply:
    """What the server answers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Fault:
    """Something that goes wrong for the next so many requests to a path."""

    action: str
    """status, reset, timeout, drip, truncated, wrong_length, html."""
    times: int = 1
    path: str = ""
    """Part of the path of the requests concerned."""
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"out of order"
    after: int = 0
    """Requests that pass before it begins."""


HTML = b"<!doctype html><html><body><h1>Proxy error</h1></body></html>"


class LoopbackServer:
    """Serves on 127.0.0.1 at a free port until it is closed; remembers every request."""

    def __init__(self, handle: Callable[[Request], Reply], *, stall_s: float = 2.0) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.sent_bytes = 0
        """Of all bodies."""
        self.stall_s = stall_s
        self._handle, self._lock = handle, threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each body waits 40 ms for the client to acknowledge the headers

            def do_GET(self) -> None:
                owner._serve(self)

            do_POST = do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.root = f"http://127.0.0.1:{self.port}"
        self._stalled = threading.Event()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> "LoopbackServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stalled.set()
        self._server.shutdown()
        self._server.server_close()

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.command, url.path, dict(parse_qsl(url.query, True)), headers, body, handler.path)
        with self._lock:
            self.requests.append(request)
            fault = self._next_fault(request)
        if fault is None:
            self._send(handler, self._handle(request))
        elif fault.action == "status":
            self._send(handler, Reply(fault.status, fault.body, dict(fault.headers)))
        elif fault.action == "html":
            self._send(handler, Reply(200, HTML, {"Content-Type": "text/html"}))
        elif fault.action == "timeout":
            self._stalled.wait(self.stall_s)
            handler.close_connection = True
        elif fault.action == "drip":
            self._send(handler, Reply(200, b"", {"Content-Length": "1000"}))
            for _ in range(100):
                if self._stalled.wait(0.1):
                    break
                try:
                    handler.wfile.write(b" ")
                except OSError:
                    break
            handler.close_connection = True
        elif fault.action == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
        else:  # truncated: less than announced; wrong_length: more than is there was announced, or less
            reply = self._handle(request)
            announced = len(reply.body) + (0 if fault.action == "truncated" else 17)
            sent = reply.body[: len(reply.body) // 2] if fault.action == "truncated" else reply.body
            self._send(handler, Reply(reply.status, sent, {**reply.headers, "Content-Length": str(announced)}))
            handler.close_connection = True

    def _next_fault(self, request: Request) -> Fault | None:
        for fault in self.faults:
            if fault.path in request.path and fault.times > 0:
                if fault.after > 0:
                    fault.after -= 1
                    return None
                fault.times -= 1
                return fault
        return None

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        try:
            handler.send_response(reply.status)
            headers = {"Content-Length": str(len(reply.body)), **reply.headers}
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            if handler.command != "HEAD":
                handler.wfile.write(reply.body)
                with self._lock:
                    self.sent_bytes += len(reply.body)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
