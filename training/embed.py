"""Embeds a split of a corpus, or points, pictures, rasters and texts of one's own, into a parquet table.

python -m training.embed runs/demo shards/demo --split test -o z.parquet
python -m training.embed runs/demo --modality location points.csv -o points.parquet
python -m training.embed runs/demo --modality street photos/*.jpg -o photos.parquet

Columns: key, modality, lon, lat, z of a corpus; lon, lat, z of points (columns lon, lat); file, z of pictures and
rasters; file, row, z of texts (a file each, or the column text of a CSV file). z is a unit vector. Positions are
degrees, WGS 84: of a street photo its own, of all else of the place (the centre of its cell). In a patch given as a
file the place is taken to lie in the middle; a corpus tells where it lies.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from schemas.corpus import CorpusError
from training.api import BATCH, open_run
from training.checkpoint import CHOICES, CheckpointError
from training.command import run_command
from training.data.batch import VIEWS
from training.data.split import open_split
from training.inputs import InputError
from training.options import OptionError
from training.reading import read_for
from training.tables import embed_files, embed_places, write_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    options = _parse(arguments)
    return run_command(
        lambda: embed(options), CheckpointError, CorpusError, InputError, OptionError, where=options.output
    )


def embed(options: argparse.Namespace) -> None:
    """Embeds what is asked for, and writes the table."""
    encoder = open_run(options.run, weights=options.weights, device=options.device)
    if options.modality is None:
        samples = open_split(options.inputs[0], options.split)
        centres, batches = read_for(encoder.model, samples, batch=BATCH)
        chunks = embed_places(encoder, batches, centres)
    else:
        chunks = embed_files(encoder, options.modality, [Path(path) for path in options.inputs])
    count = write_table(options.output, chunks)
    print(f"{options.output}: {count} rows", file=sys.stderr)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.embed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("run", help="folder of a run, or of one checkpoint")
    parser.add_argument("inputs", nargs="+", metavar="input", help="a corpus, or with --modality files")
    parser.add_argument("--modality", choices=VIEWS, help="what the files are (default: the input is a corpus)")
    parser.add_argument("--split", default="test", help="split of the corpus (default test)")
    parser.add_argument("-o", "--output", required=True, help="parquet file to write")
    parser.add_argument("--weights", default="auto", choices=CHOICES, help="which of the checkpoint's")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    options = parser.parse_args(arguments)
    if options.modality is None and len(options.inputs) > 1:
        parser.error(
            f"{len(options.inputs)} corpora were given: give one folder, or say what the files are (--modality)"
        )
    return options


if __name__ == "__main__":
    sys.exit(main())
