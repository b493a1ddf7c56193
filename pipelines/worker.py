"""What a worker process of this machine runs: Beam's own worker, without its chatter on stderr."""

import logging
import sys

from apache_beam.runners.worker import sdk_worker_main

from pipelines.engine.allocator import keep_memory


def main() -> None:
    """Serves the runner until it hangs up; what matters reaches the runner as an answer, not as a log."""
    keep_memory()
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    logging.getLogger(sdk_worker_main.__name__).setLevel(
        logging.ERROR
    )  # no directory of user registries: none is wanted
    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
