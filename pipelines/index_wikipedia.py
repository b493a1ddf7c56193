"""Indexes a dump of a Wikipedia, so that a corpus takes its articles without a request. `--help` lists the options."""

import argparse
import glob
import logging
import os
import re
import sys
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from geodata.wikipedia.stream import DumpError
from geodata.wikipedia.tally import closing_table
from pipelines.engine.command import run_command
from pipelines.engine.run import BuildError, beam_options, run
from pipelines.plan.options import OptionError
from pipelines.sources.wikipedia_dump import DumpFiles, index_dump

EXAMPLE = """example (a small wiki takes minutes on a laptop; the files come from dumps.wikimedia.org):
  python -m pipelines.index_wikipedia --language lb --geo_tags lbwiki-latest-geo_tags.sql.gz \\
      --pages 'lbwiki-latest-pages-articles*.xml.bz2' --output wiki/lb
  python -m pipelines.build_shards --region LU --sources wikipedia:wiki/lb --output shards/lux

Options that are not listed here go to Apache Beam."""


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class IndexOptions:
    """All options of `python -m pipelines.index_wikipedia`."""

    geo_tags: str = _option(MISSING, "the wiki's geo_tags.sql, packed or not")
    pages: tuple[str, ...] = _option(MISSING, "its pages-articles XML files, packed or not: paths or patterns")
    output: str = _option(MISSING, "folder of the table; must not exist yet, or be empty")
    language: str = _option("en", "the wiki's language")
    page_props: str = _option("", "the wiki's page_props.sql: tells disambiguations better than their templates")
    runner: str = _option("FnApiRunner", "FnApiRunner (worker processes on this machine) or another of Beam's runners")
    workers: int = _option(os.cpu_count() or 1, "worker processes of FnApiRunner")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{1,20}", self.language):
            raise OptionError(f"--language {self.language!r} names no wiki: give a code such as en or de.")
        if self.workers < 1:
            raise OptionError(f"--workers {self.workers} is too small: give at least 1.")
        if self.runner == "DaskRunner":
            raise OptionError("--runner DaskRunner silently loses outputs (Beam 2.77): use FnApiRunner.")
        output = Path(self.output)
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise OptionError(f"--output {self.output} is there already: choose another, or remove it.")

    def find_files(self) -> DumpFiles:
        """Returns the files of the dump, those of a pattern in the order of their names."""
        found = {pattern: sorted(glob.glob(pattern)) for pattern in self.pages}
        for pattern, paths in found.items():
            if not paths:
                raise OptionError(f"--pages {pattern} matches no file: check the path, and quote a pattern.")
        paths = sorted({str(Path(path).absolute()) for group in found.values() for path in group})
        geo_tags, page_props = (str(Path(path).absolute()) if path else "" for path in (self.geo_tags, self.page_props))
        return DumpFiles(self.language, geo_tags, tuple(paths), page_props)


def parse_options(arguments: list[str]) -> tuple[IndexOptions, list[str]]:
    """Reads the command line; returns the options, and what is left for Beam."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.index_wikipedia", description="Indexes a dump of a Wikipedia by place.",
        epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    for option in fields(IndexOptions):
        text, is_needed = option.metadata["help"], option.default is MISSING
        parser.add_argument(
            f"--{option.name}", required=is_needed, default=None if is_needed else option.default,
            type=int if option.type is int else str, nargs="+" if option.name == "pages" else None,
            help=text if is_needed or option.default == "" else f"{text} (default {option.default})",
        )  # fmt: skip
    known, rest = parser.parse_known_args(arguments)
    values = vars(known)
    return IndexOptions(**{**values, "pages": tuple(values["pages"])}), rest


def main(arguments: list[str] | None = None) -> int:
    """Runs the job and returns the exit status: 0 done, 1 a sentence on stderr says why not."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", force=True)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what matters comes back as an exception
    given = sys.argv[1:] if arguments is None else arguments
    room = "make room, or choose another --output"
    return run_command(lambda: _index(given), OptionError, DumpError, BuildError, remedy=room)


def _index(arguments: list[str]) -> None:
    options, rest = parse_options(arguments)
    files = options.find_files()
    # of all its options the engine asks only for runner and workers
    settings = beam_options(options, rest, tasks=len(files.pages))  # type: ignore[arg-type]
    tallies = index_dump(
        files, Path(options.output), lambda runs: run(lambda pipeline: pipeline | "Index" >> runs, settings)
    )
    print(f"{closing_table(tallies)}\n{tallies['pages'].kept} articles in {options.output}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
