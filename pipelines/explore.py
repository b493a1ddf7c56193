"""Shows a finished corpus: a map of all places, their five views side by side, what was dropped, and the totals.

python -m pipelines.explore shards/demo
python -m pipelines.explore shards/demo --export site
"""

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from pipelines.engine.command import run_command
from pipelines.engine.log import Log
from pipelines.exploring.server import Server
from pipelines.exploring.site import ExportError, Site, export, open_site
from pipelines.files import storage
from schemas.corpus import CorpusError
from schemas.page.loopback import PortError, add_port

PORT = 8017


def main(arguments: list[str] | None = None) -> int:
    """Serves or writes the page and returns the exit status: 0 done, 1 a sentence on stderr says why not."""
    options = _parse(arguments)
    Log().catch_logging()
    return run_command(lambda: _show(options), CorpusError, ExportError, PortError, storage.AddressError)


def _show(options: argparse.Namespace) -> None:
    storage.reach(options.corpus)
    with tqdm(unit="place", file=sys.stderr, desc="reading", disable=None, delay=1) as bar:
        site = open_site(options.corpus, workers=options.workers, cache=options.cache, report=bar.update)
    if options.export:
        _export(site, options)
    else:
        Server(site, options.port).serve_until_interrupted()


def _export(site: Site, options: argparse.Namespace) -> None:
    with tqdm(unit="place", file=sys.stderr, desc="writing", disable=None, total=len(site.keys)) as bar:
        for number in export(site, options.export, previews=options.previews, threads=options.workers):
            bar.update(number)
    print(Path(options.export, "index.html").resolve().as_uri())


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.explore",
        description="Shows a finished corpus in the browser, for instance: python -m pipelines.explore shards/demo",
    )
    parser.add_argument("corpus", help="folder of the corpus, local, gs:// or s3://")
    add_port(parser, PORT)
    parser.add_argument("--export", default="", metavar="DIR", help="write a site that opens from disk, and end")
    parser.add_argument("--previews", type=int, help="places that keep their pictures in an export (default: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument(
        "--cache", default=str(Path.home() / ".cache" / "sameplace"),
        help="folder that keeps what was read of the records, '' for none (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error(f"--workers {options.workers} is too small: give at least 1")
    if options.previews is not None and options.previews < 0:
        parser.error(f"--previews {options.previews} is too small: give at least 0")
    return options


if __name__ == "__main__":
    sys.exit(main())
