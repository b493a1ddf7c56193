"""Takes photos, articles or cells out of a corpus for good: `python -m pipelines.remove DIR --ids FILE`."""

import argparse
import sys

from pipelines.corpus.removal import remove
from pipelines.engine.command import run_command
from pipelines.engine.log import Log
from pipelines.engine.run import BuildError
from pipelines.files import storage
from pipelines.files.lock import hold
from pipelines.plan.tombstones import read_ids


def main(arguments: list[str] | None = None) -> int:
    """Removes and returns the exit status: 0 done, 1 a sentence on stderr says why not."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.remove", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", help="folder of the corpus, local, gs:// or s3://")
    parser.add_argument("--ids", required=True, help="text file: an H3 cell, photo or article identifier a line")
    parser.add_argument("--log_json", action="store_true", help="say everything as JSON lines")
    options, rest = parser.parse_known_args(arguments)
    log = Log(options.log_json)
    log.catch_logging()
    return run_command(lambda: _remove(options, rest, log), BuildError, ValueError, log=log)


def _remove(options: argparse.Namespace, rest: list[str], log: Log) -> None:
    storage.reach(options.corpus, rest)
    ids = read_ids(options.ids)
    with hold(options.corpus):
        remove(options.corpus, ids, rest, log)


if __name__ == "__main__":
    sys.exit(main())
