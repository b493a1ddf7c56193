"""Shows a finished corpus: a map of all places, their five views side by side, what was dropped, and the totals.

python -m pipelines.explore shards/demo
python -m pipelines.explore shards/demo --export site
"""

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from pipelines.engine.log import Log
from pipelines.exploring.server import Server
from pipelines.exploring.site import ExportError, Site, export, open_site
from pipelines.files import storage
from schemas.corpus import CorpusError

PORT = 8017


def main(arguments: list[str] | None = None) -> int:
    """Serves or writes the page and returns the exit status: 0 done, 1 a sentence on stderr says why not."""
    options = _parse(arguments)
    log = Log()
    log.catch_logging()
    try:
        storage.reach(options.corpus)
        with tqdm(unit="place", file=sys.stderr, desc="reading", disable=None, delay=1) as bar:
            site = open_site(options.corpus, workers=options.workers, cache=options.cache, report=bar.update)
        if options.export:
            _export(site, options)
        else:
            _serve(site, options.port)
    except (CorpusError, ExportError, storage.AddressError) as error:
        log.say("error", f"error: {error}")
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        log.say("error", f"error: {error.strerror or error}{where}: check the path and its permissions.")
        return 1
    return 0


def _export(site: Site, options: argparse.Namespace) -> None:
    with tqdm(unit="place", file=sys.stderr, desc="writing", disable=None, total=len(site.keys)) as bar:
        for number in export(site, options.export, previews=options.previews, threads=options.workers):
            bar.update(number)
    print(Path(options.export, "index.html").resolve().as_uri())


def _serve(site: Site, port: int) -> None:
    try:
        server = Server(site, port)
    except OSError as error:
        raise CorpusError(f"Port {port} cannot be used ({error.strerror}): give --port 0 for a free one.") from error
    print(f"{server.address} (Ctrl+C ends it)", flush=True)
    server.serve_until_interrupted()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.explore",
        description="Shows a finished corpus in the browser, for instance: python -m pipelines.explore shards/demo",
    )
    parser.add_argument("corpus", help="folder of the corpus, local, gs:// or s3://")
    parser.add_argument("--port", type=int, default=PORT, help=f"of loopback (default {PORT}; 0 takes a free one)")
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
    if not 0 <= options.port < 65536:
        parser.error(f"--port {options.port} is none: give 0 ... 65535")
    if options.previews is not None and options.previews < 0:
        parser.error(f"--previews {options.previews} is too small: give at least 0")
    return options


if __name__ == "__main__":
    sys.exit(main())
