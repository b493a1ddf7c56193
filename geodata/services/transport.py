"""Sending one request and opening its answer: connections that threads share, proxies, certificates, redirects.

It stands on urllib3; of requests it has the rules for proxies alone: a whole `requests.Session` took longer for a
photo than its JPEG encoder. No cookie is kept, and ~/.netrc is not read.
"""

import json
import os
from collections.abc import Mapping
from functools import cache, partial
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, prepend_scheme_if_needed, select_proxy

CONNECTIONS = 32
"""Kept open to one host, and hosts to which some are."""
MAX_REDIRECTS = 30
_SECRETS = frozenset(["authorization", "cookie", "proxy-authorization"])


class Transport:
    """Sends requests; threads may share one."""

    def __init__(self, agent: str, *, connect_s: float, read_s: float) -> None:
        """Takes the User-Agent, the time-out of a connection, and the longest silence of an answer."""
        self._timeout = urllib3.Timeout(connect=connect_s, read=read_s)
        self._headers = {
            **urllib3.make_headers(keep_alive=True, accept_encoding=True, user_agent=agent), "accept": "*/*"
        }  # fmt: skip
        self._certificates = _find_certificates()
        self.adapter = HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS)
        self.adapter.init_poolmanager(CONNECTIONS, CONNECTIONS, **self._certificates)  # type: ignore[arg-type]
        self._manager = cache(partial(_choose_manager, self.adapter, self._certificates))

    def open(self, url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Returns the answer, its body still to be read; it has to be closed. Redirects are followed.

        Args:
            body: sent as JSON by POST where it is not None.
            headers: secrets among them are not carried to another host.

        Raises:
            urllib3.exceptions.HTTPError: if none comes.
        """
        sent = {**self._headers, **{name.lower(): value for name, value in headers.items()}}
        payload = None if body is None else json.dumps(body, allow_nan=False).encode()
        if payload is not None:
            sent["content-type"] = "application/json"
        for _ in range(MAX_REDIRECTS):
            root = _root_of(url)
            answer = self._manager(root).urlopen(
                "GET" if payload is None else "POST", url, redirect=False, body=payload, headers=sent,
                timeout=self._timeout, retries=False, preload_content=False,
            )  # fmt: skip
            location = answer.get_redirect_location()
            if not location:
                return answer
            answer.close()
            url = urljoin(url, location)
            if _root_of(url) != root:
                sent = {name: value for name, value in sent.items() if name not in _SECRETS}
            if answer.status in (301, 302, 303):  # what browsers do: RFC 9110, 15.4
                payload = None
                sent.pop("content-type", None)
        raise urllib3.exceptions.HTTPError(f"more than {MAX_REDIRECTS} redirects")

    def close(self) -> None:
        """Closes all connections."""
        self.adapter.close()


def _choose_manager(adapter: HTTPAdapter, certificates: dict[str, str], root: str) -> urllib3.PoolManager:
    """Returns what leads to a host: directly, or by the proxy that the environment names for it."""
    proxy = select_proxy(root, get_environ_proxies(root))
    if not proxy:
        return adapter.poolmanager
    address = prepend_scheme_if_needed(proxy, "http")
    manager: urllib3.PoolManager = adapter.proxy_manager_for(address, **certificates)
    return manager


def _find_certificates() -> dict[str, str]:
    path = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    return {"cert_reqs": "CERT_REQUIRED", "ca_cert_dir" if os.path.isdir(path) else "ca_certs": path}


def _root_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
