"""Running a pipeline on the chosen engine."""

import argparse
import re
from collections.abc import Callable

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.options import OptionError, Options


class BuildError(RuntimeError):
    """A worker met something that is not one record's fault: one sentence for the user."""


def beam_options(options: Options, rest: list[str], *, tasks: int) -> PipelineOptions:
    """Returns Beam's options.

    Args:
        rest: the flags that are not ours.
        tasks: independent pieces of work; no more workers than these are started.

    Raises:
        OptionError: for a flag that Beam does not know either.
    """
    _check_flags(rest)
    flags = [f"--runner={options.runner}", "--default_sdk_harness_log_level=WARNING", *rest]
    if options.runner == "FnApiRunner":
        workers = min(options.workers, max(1, tasks))
        mode = "multi_processing" if workers > 1 else "in_memory"
        flags += [f"--direct_num_workers={workers}", f"--direct_running_mode={mode}"]
    return PipelineOptions(flags)


def run(build: Callable[[beam.Pipeline], object], pipeline_options: PipelineOptions) -> None:
    """Builds a pipeline and runs it to its end.

    Raises:
        BuildError: with the sentence of the worker that failed.
    """
    pipeline = beam.Pipeline(options=pipeline_options)
    build(pipeline)
    try:
        pipeline.run().wait_until_finish()
    except RuntimeError as error:
        sentences = re.findall(r"BuildError: (.*?)(?: \[while running|\\n|$)", str(error), flags=re.MULTILINE)
        if sentences:
            raise BuildError(sentences[-1]) from error
        raise


def _check_flags(rest: list[str]) -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for group in PipelineOptions.__subclasses__():
        try:
            group._add_argparse_args(parser)  # type: ignore[attr-defined]
        except argparse.ArgumentError:
            continue  # two of Beam's own groups name the same flag
    unknown = parser.parse_known_args(rest)[1]
    if unknown:
        raise OptionError(f"Unknown option {unknown[0]}: see --help for ours; Apache Beam does not know it either.")
