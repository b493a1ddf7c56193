"""Running a pipeline on the chosen engine."""

import argparse
import logging
import re
from collections import Counter
from collections.abc import Callable

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from geodata.sources.live import adopt_token
from pipelines.engine.dataflow import DATAFLOW, check_dataflow, dataflow_flags, job_errors
from pipelines.engine.workers import find_loss, worker_environment
from pipelines.files import storage
from pipelines.plan.options import OptionError, Options


class BuildError(RuntimeError):
    """A worker met something that is not one record's fault: one sentence for the user."""


def prepare(options: Options, rest: list[str]) -> None:
    """Checks what can be known before any work, and makes this process reach gs:// and s3://.

    Raises:
        OptionError, AddressError: for what cannot be used.
        SourceError: if the Mapillary token cannot be read where it is said to be.
    """
    check_flags(rest)
    check_runner(options.runner)
    check_dataflow(options, rest)
    storage.reach(options.output, rest)
    adopt_token(options.token_secret)


def beam_options(options: Options, rest: list[str], *, tasks: int) -> PipelineOptions:
    """Returns Beam's options.

    Args:
        rest: the flags that are not ours.
        tasks: independent pieces of work; no more workers than these are started.

    Raises:
        OptionError: for a flag that Beam does not know either, or a runner.
    """
    check_flags(rest)
    check_runner(options.runner)
    flags = [f"--runner={options.runner}", *rest]
    if options.runner == "FnApiRunner":
        flags.append(f"--direct_num_workers={min(options.workers, max(1, tasks))}")
    elif options.runner == DATAFLOW:
        flags += dataflow_flags(options, rest)
    elif options.runner == "FlinkRunner":
        flags.insert(1, f"--parallelism={options.workers}")
    return PipelineOptions(flags)


def run(build: Callable[[beam.Pipeline], object], pipeline_options: PipelineOptions) -> dict[str, int]:
    """Builds a pipeline and runs it to its end.

    Returns:
        The counters of `pipelines.engine.metrics` by name, of all workers together.

    Raises:
        BuildError: with the sentence of the worker that failed.
    """
    pipeline = beam.Pipeline(runner=_local_runner(pipeline_options), options=pipeline_options)
    build(pipeline)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except job_errors() as error:
        if loss := find_loss():
            raise BuildError(loss) from error
        text = f"BuildError: {error}" if isinstance(error, BuildError) else str(error)
        sentences = re.findall(
            r"(?:Build|Source|Service)Error: (.*?)(?: \[while running|\\n|$)", text, flags=re.MULTILINE
        )
        if sentences:
            raise BuildError(sentences[-1]) from error
        if isinstance(error, RuntimeError):
            raise
        raise BuildError(f"The job failed: {text.strip().rpartition(chr(10))[2]}") from error
    counters: Counter[str] = Counter()
    for found in result.metrics().query()["counters"]:  # each step has its own
        counters[found.key.metric.name] += found.result
    return dict(counters)


def check_runner(name: str) -> None:
    """Raises OptionError for a runner that Beam does not know; a dotted name is a class that it imports."""
    known = {runner.lower() for runner in StandardOptions.KNOWN_RUNNER_NAMES}
    if "." not in name and not {name.lower(), f"{name.lower()}runner"} & known:
        raise OptionError(
            f"--runner {name} is none that Apache Beam knows: give FnApiRunner (this machine), DataflowRunner, "
            "FlinkRunner or PortableRunner."
        )


def _local_runner(pipeline_options: PipelineOptions) -> FnApiRunner | None:
    """FnApiRunner with worker processes of ours where several are asked for; None leaves the choice to Beam."""
    is_local = pipeline_options.view_as(StandardOptions).runner == "FnApiRunner"
    if not is_local or pipeline_options.view_as(DirectOptions).direct_num_workers == 1:
        return None
    # the runner takes worker processes from its environment, and then warns that the mode does not say so
    logging.getLogger("apache_beam.runners.portability.fn_api_runner.fn_runner").setLevel(logging.ERROR)
    return FnApiRunner(worker_environment())


def check_flags(rest: list[str]) -> None:
    """Raises OptionError for a flag that is neither ours nor Beam's."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for group in PipelineOptions.__subclasses__():
        try:
            group._add_argparse_args(parser)
        except argparse.ArgumentError:
            continue  # two of Beam's own groups name the same flag
    unknown = parser.parse_known_args(rest)[1]
    if unknown:
        raise OptionError(f"Unknown option {unknown[0]}: see --help for ours; Apache Beam does not know it either.")
