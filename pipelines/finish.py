"""Merges the parts of a corpus whose shards were built apart: `python -m pipelines.finish DIR`."""

import argparse
import sys

from pipelines.corpus.finish import finish_corpus
from pipelines.corpus.report import closing_table
from pipelines.engine.command import run_command
from pipelines.engine.run import BuildError, check_flags
from pipelines.files import storage
from pipelines.files.lock import hold
from pipelines.plan.plan import read_plan


def main(arguments: list[str] | None = None) -> int:
    """Finishes a corpus and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.finish", description="Merges the parts of a corpus.")
    parser.add_argument("corpus", help="folder of the corpus, local, gs:// or s3://")
    options, rest = parser.parse_known_args(arguments)
    return run_command(lambda: _finish(options.corpus, rest), BuildError, ValueError)


def _finish(output: str, rest: list[str]) -> None:
    check_flags(rest)
    storage.reach(output, rest)
    with hold(output):
        plan = read_plan(output)
        if plan is None:
            raise BuildError(f"{output} holds no plan of sameplace: build a part of it first, with --partition 1/N.")
        print(closing_table(finish_corpus(output, plan)), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
