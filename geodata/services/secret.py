"""A secret of Google Secret Manager, for workers whose environment nobody can set."""

import base64

from geodata.sources.source import SourceError

ROOT = "https://secretmanager.googleapis.com/v1"
READ_S = 30.0
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def read_secret(name: str, root: str = "") -> str:
    """Returns a secret's text; the worker's own service account asks for it.

    Args:
        name: projects/P/secrets/NAME/versions/latest.
        root: another address of Secret Manager.

    Raises:
        SourceError: if it cannot be had.
    """
    try:
        from google.auth import default
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import AuthorizedSession
    except ImportError as error:
        raise SourceError(f"The secret {name} cannot be read: pip install 'sameplace[gcp]'.") from error
    try:
        credentials, _ = default(scopes=[SCOPE])
        with AuthorizedSession(credentials) as session:
            answer = session.get(f"{root or ROOT}/{name}:access", timeout=READ_S)
    except (OSError, GoogleAuthError) as error:
        raise SourceError(f"The secret {name} cannot be read: {error}") from error
    if answer.status_code != 200:
        raise SourceError(
            f"The secret {name} cannot be read (HTTP {answer.status_code}): is its name right, and has the workers' "
            "service account the role Secret Manager Secret Accessor?"
        )
    return base64.b64decode(answer.json()["payload"]["data"]).decode().strip()
