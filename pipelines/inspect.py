"""Shows a finished corpus in a terminal: its totals, or one sample, and pictures of them on a contact sheet.

python -m pipelines.inspect shards/demo
python -m pipelines.inspect shards/demo 8a1f9515510ffff --sheet sample.png
"""

import argparse
import sys
from typing import Any

from pipelines.engine.command import run_command
from pipelines.files import storage
from pipelines.inspection.open import choose_rows, find_drops, find_row, read_row
from pipelines.inspection.sheet import draw_sheet
from pipelines.inspection.tell import tell_corpus, tell_sample
from pipelines.verification.examine_corpus import read_manifest
from schemas.corpus import INDEX, CorpusError


def main(arguments: list[str] | None = None) -> int:
    """Prints what there is and returns the exit status: 0 done, 1 a sentence on stderr says why not."""
    options = _parse(arguments)
    return run_command(lambda: _show(options), CorpusError, storage.AddressError)


def _show(options: argparse.Namespace) -> None:
    storage.reach(options.corpus)
    manifest = read_manifest(options.corpus)
    if options.cell:
        rows = [_find(options.corpus, options.cell)]
        print(tell_sample(read_row(options.corpus, rows[0]), find_drops(options.corpus, rows[0]["key"])))
    else:
        rows = choose_rows(options.corpus, options.samples) if options.sheet else []
        print(tell_corpus(options.corpus, manifest))
    if options.sheet:
        sheet = draw_sheet(manifest["name"], [read_row(options.corpus, row) for row in rows])
        storage.write_bytes(options.sheet, sheet)
        print(f"\n{options.sheet}: {len(rows)} samples", file=sys.stderr)


def _find(corpus: str, cell: str) -> dict[str, Any]:
    row = find_row(corpus, cell.lower())
    if row is not None:
        return row
    drops = [f"{drop['stage']}.{drop['reason']}" for drop in find_drops(corpus, cell.lower()) if not drop["modality"]]
    why = f"it was dropped ({drops[0]})" if drops else f"see the column key of its {INDEX}"
    raise CorpusError(f"{corpus} holds no sample {cell}: {why}.")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.inspect", description="Shows a finished corpus: totals, or one sample."
    )
    parser.add_argument("corpus", help="folder of the corpus, local, gs:// or s3://")
    parser.add_argument("cell", nargs="?", help="H3 cell of one sample (default: the whole corpus)")
    parser.add_argument("--sheet", default="", metavar="PNG", help="write pictures of the sample, or of some, here")
    parser.add_argument("--samples", type=int, default=8, help="samples on the sheet of a corpus (default 8)")
    options = parser.parse_args(arguments)
    if not 1 <= options.samples <= 100:
        parser.error(f"--samples {options.samples} is not 1 ... 100")
    return options


if __name__ == "__main__":
    sys.exit(main())
