"""Shows what a trained run has learnt: type a text, click the map or drop in a photo, and see the nearest places.

python -m training.explore runs/demo shards/demo
"""

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from schemas.corpus import CorpusError
from schemas.page.loopback import PortError, add_port
from training.api import open_run
from training.checkpoint import CHOICES, CheckpointError
from training.command import run_command
from training.evaluation.embedded import Embedded
from training.exploring.explorer import Explorer
from training.exploring.gallery import Gallery, embed_splits, keep, name_kept, open_splits, read_kept
from training.exploring.server import Server
from training.inputs import InputError
from training.options import OptionError

PORT = 8018


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page and returns the exit status: 0 done, 1 a sentence on stderr says why not."""
    options = _parse(arguments)
    errors = (CheckpointError, CorpusError, InputError, OptionError, PortError)
    return run_command(lambda: _serve(open_explorer(options), options.port), *errors, where=options.corpus)


def open_explorer(options: argparse.Namespace) -> Explorer:
    """Opens run and corpus, and embeds the places unless an earlier start kept them."""
    encoder = open_run(options.run, weights=options.weights, device="cpu")
    splits = open_splits(options.corpus, options.split)
    name = name_kept(Path(options.run), Path(options.corpus), splits, options.weights)
    kept = Path(options.cache) / name if options.cache and name else None
    places = read_kept(kept, splits) if kept else None
    if places is None:
        quick = open_run(options.run, weights=options.weights, device=options.device)
        places = embed_splits(quick, splits, _report)
        if kept:
            _keep(kept, places)
    return Explorer(encoder, Gallery(splits, places), options.corpus, Path(options.run).resolve().name)


def _keep(path: Path, places: Embedded) -> None:
    try:
        keep(path, places)
    except OSError as error:
        print(f"{path} cannot be written ({error.strerror}): the next start embeds again.", file=sys.stderr)


def _report(done: int, total: int) -> None:
    if sys.stderr.isatty() or done == total:
        print(f"\r{done} of {total} places embedded", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _serve(explorer: Explorer, port: int) -> None:
    server = Server(explorer, port)
    threading.Thread(target=explorer.embed_region, daemon=True).start()  # before anybody asks for it
    server.serve_until_interrupted()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.explore",
        description="Shows what a run has learnt in the browser, for instance: "
        "python -m training.explore runs/demo shards/demo",
        allow_abbrev=False,
    )
    parser.add_argument("run", help="folder of a run, or of one checkpoint")
    parser.add_argument("corpus", help="folder of a corpus, or of several")
    parser.add_argument("--split", default="val,test", help="splits that are searched, or all (default val,test)")
    add_port(parser, PORT)
    parser.add_argument("--weights", default="auto", choices=CHOICES, help="which of the checkpoint's")
    parser.add_argument("--device", default="auto", help="that embeds the places: auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--cache", default=str(Path.home() / ".cache" / "sameplace"),
        help="folder that keeps embeddings, '' for none (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
