"""What every runnable of `pipelines` does around its work: an error of the user is one sentence, and a status."""

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool

from pipelines.engine.log import Log

REMEDY = "check the path and its permissions"


def run_command(
    work: Callable[[], int | None], *errors: type[Exception], log: Log | None = None, remedy: str = REMEDY
) -> int:
    """Does the work of a command and returns its exit status: the work's own or 0, and 1 where an error was told.

    Args:
        errors: what is told by its own words; besides, an OSError is told by the system's words and its file, and that
            a process of the work died.
        log: takes what is told (default: stderr).
        remedy: what to do about an OSError.
    """
    log = log or Log()
    try:
        return work() or 0
    except errors as error:
        log.say("error", f"error: {error}")
    except BrokenProcessPool:
        log.say("error", "error: a process was ended from outside, perhaps for want of memory: give fewer --workers.")
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        log.say("error", f"error: {error.strerror or error}{where}: {remedy}.")
    return 1
