"""Searching a STAC API with pystac-client, every request of which goes through our session.

pystac-client itself retries no POST and no status code, has no time-out unless told, and stops at an empty page even
where a next link follows; here the session retries, and pages are followed to the last link.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pystac_client
from pystac import Link, STACError, STACTypeError
from pystac_client.errors import ClientTypeError
from pystac_client.stac_api_io import StacApiIO

from geodata.boxes import Box, split_at_antimeridian
from geodata.services.service import SERVICES
from geodata.services.session import Answer, ServiceError, Session

PAGE = 250
"""Items asked for in one page: the defaults of servers differ from 10 to 250."""
MAX_EMPTY_PAGES = 5
"""After so many pages without an item a server is taken to walk in circles."""


class StacSearch:
    """One STAC API."""

    def __init__(self, session: Session, service: str = "stac") -> None:
        self._session, self._service = session, service
        self._client: pystac_client.Client | None = None

    def find(
        self, collections: Sequence[str], box: Box, *, period: str | None = None,
        query: Mapping[str, Mapping[str, object]] | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Returns all items over a box (degrees) as GeoJSON features, each once, sorted by collection and id.

        Args:
            period: `2023-05-01/2023-09-30`, inclusive.
            query: of the query extension, such as {"eo:cloud_cover": {"lt": 60}}.

        Raises:
            ServiceError: if the service fails.
        """
        if self._client is None:
            stac_io = _SessionIO(self._session, self._service)
            try:
                self._client = pystac_client.Client.open(self._session.root(self._service), stac_io=stac_io)
            except (ClientTypeError, STACError, STACTypeError, KeyError, TypeError, ValueError) as error:
                raise ServiceError(self._service, f"is no STAC API ({type(error).__name__}: {error})") from error
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for bbox in split_at_antimeridian(box):
            search = self._client.search(
                method="POST", collections=list(collections), bbox=list(bbox), datetime=period, limit=PAGE,
                query=dict(query) if query else None,
            )  # fmt: skip
            for page in search.pages_as_dicts():
                found |= {(item["collection"], item["id"]): item for item in page["features"]}
        return [found[key] for key in sorted(found)]


class _SessionIO(StacApiIO):
    """pystac-client's input and output by way of the session."""

    def __init__(self, session: Session, service: str) -> None:
        super().__init__(max_retries=None)
        self._requests, self._service = session, service

    def request(
        self, href: str, method: str | None = None, headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:  # fmt: skip
        """Sends one request and returns the body, which is JSON."""
        root, public = self._requests.root(self._service), SERVICES[self._service].root
        if href.startswith(public):  # a mirror may hand out the links of the original
            href = root + href[len(public) :]
        is_post = (method or "GET").upper() == "POST"
        return self._requests.request(
            self._service, href, parse=_parse, headers=headers, body=parameters if is_post else None,
            params=None if is_post else parameters,
        )  # fmt: skip

    def get_pages(
        self, url: str, method: str | None = None, parameters: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yields pages that hold items until there is no next link; pystac-client ends a search at an empty one."""
        page = self.read_json(url, method=method, parameters=parameters)
        empty, seen = 0, set[tuple[str, str]]()
        while True:
            new = {(item["collection"], item["id"]) for item in page.get("features", ())} - seen
            empty = 0 if new else empty + 1
            seen |= new
            if new:
                yield page
            following = next((link for link in page.get("links", []) if link["rel"] == "next"), None)
            if following is None:
                return
            if empty > MAX_EMPTY_PAGES:
                raise ServiceError(
                    self._service, f"sent {empty} empty pages or old ones, each with a next link", retryable=True
                )
            page = self.read_json(Link.from_dict(following), parameters=parameters)


def _parse(answer: Answer) -> str:
    answer.json()
    return answer.body.decode("utf-8")
