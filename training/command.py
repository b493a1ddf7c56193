"""What every runnable of `training` does around its work: an error of the user is one sentence, and a status."""

import sys
from collections.abc import Callable


def run_command(work: Callable[[], int | None], *errors: type[Exception], where: str = "", status: int = 1) -> int:
    """Does the work of a command and returns its exit status: the work's own where it returns one, else 0.

    Args:
        errors: what is told by its own words; besides, an OSError is told by its file and the system's words.
        where: stands for the file where the system names none.
        status: of an error that was told.
    """
    try:
        return work() or 0
    except errors as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or where}: {error.strerror or error}.", file=sys.stderr)
    return status
