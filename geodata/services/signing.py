"""Keys to the files of the Planetary Computer: one token per container and process, asked for when it is needed.

A token is good for about 45 minutes, a bundle of a long build may take longer; so addresses are signed when they are
read, never when they are found, and a refusal (403) leads to one new token. The token itself is never written down.
"""

import threading
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from geodata.services.session import Answer, Session, Transient

if TYPE_CHECKING:
    from planetary_computer.sas import SASToken

BLOB_STORAGE_DOMAIN = ".blob.core.windows.net"
"""Of Azure; what follows an account's name."""
RENEW_BEFORE_S = 120.0
"""A token with less time left is renewed: a read that begins with it should end with it."""


class Signer:
    """Signs addresses of Azure blobs; threads may share one."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tokens: dict[tuple[str, str], SASToken] = {}
        self._lock = threading.Lock()

    def sign(self, href: str, *, refused: str | None = None) -> str:
        """Returns the address at which a file can be read now.

        Args:
            href: without a signature; what is no Azure blob comes back as it is, at its endpoint.
            refused: the signed address that was just refused; its token is renewed unless that has been done.

        Raises:
            ServiceError: if no token can be had.
        """
        address = resolve(href, self._session)
        if not is_blob(href):
            return address
        from planetary_computer.utils import parse_blob_url  # a third of a second: only for those who need a key

        container = parse_blob_url(urlparse(href))
        with self._lock:  # one thread asks, the others wait for its token
            token = self._tokens.get(container)
            was_refused = token is not None and refused is not None and refused.endswith(token.token)
            if token is None or was_refused or token.ttl() < RENEW_BEFORE_S:
                token = self._tokens[container] = self._ask(container)
        return str(token.sign(address).href)

    def _ask(self, container: tuple[str, str]) -> "SASToken":
        url = f"{self._session.root('sas')}/token/{container[0]}/{container[1]}"
        return self._session.request("sas", url, parse=_parse_token, cache_key=None)


def is_blob(href: str) -> bool:
    """True for an address that needs a signature."""
    return urlparse(href).netloc.endswith(BLOB_STORAGE_DOMAIN)


def resolve(href: str, session: Session) -> str:
    """Returns the address of a file at the endpoints in use.

    Blobs lie at `{blob}/{path}`, or at `{endpoint}/{account}/{path}` where --endpoint blob is set; S3 objects, also
    written s3://bucket/key, likewise with the bucket.
    """
    parts = urlparse(href)
    if is_blob(href):
        return _place(session, "blob", parts.netloc.removesuffix(BLOB_STORAGE_DOMAIN), parts.path, href)
    if parts.scheme == "s3":
        return _place(session, "s3", parts.netloc, parts.path, f"https://{parts.netloc}.s3.amazonaws.com{parts.path}")
    if parts.netloc.endswith(".amazonaws.com") and ".s3" in parts.netloc:
        return _place(session, "s3", parts.netloc.partition(".s3")[0], parts.path, href)
    return href


def _place(session: Session, service: str, store: str, path: str, public: str) -> str:
    endpoint = session.settings.endpoints.get(service)
    return f"{endpoint}/{store}{path}" if endpoint else public


def _parse_token(answer: Answer) -> "SASToken":
    import pydantic
    from planetary_computer.sas import SASToken

    try:
        return SASToken(**answer.json())
    except (pydantic.ValidationError, TypeError) as error:
        raise Transient("the answer is no token") from error
