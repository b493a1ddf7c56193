"""Builds a corpus: region -> plan -> shards -> index, manifest and card. `--help` lists the options."""

import logging
import os
import shutil
import sys
import time
from pathlib import Path

from geodata.regions import RegionError
from geodata.services.session import ServiceError
from geodata.sources import SourceError
from pipelines.build import BuildShards
from pipelines.demo import prepare_demo
from pipelines.finish import finish_corpus
from pipelines.live import check_contact, check_services, resolve_sources
from pipelines.options import OptionError, Options, parse_options
from pipelines.plan import FOLDER, Plan, SourceSpec, read_plan
from pipelines.planning import make_plan
from pipelines.report import Progress, closing_table, plan_notes, plan_table
from pipelines.retry import retry_searches, with_failures
from pipelines.run import BuildError, beam_options, run
from pipelines.shards import unfinished
from pipelines.sources import FILES


def main(arguments: list[str] | None = None) -> int:
    """Runs a build and returns the exit status: 0 done, 1 a sentence on stderr says why not."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", force=True)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what matters comes back as an exception
    try:
        options, rest = parse_options(sys.argv[1:] if arguments is None else arguments)
        build(options, rest)
    except (OptionError, SourceError, RegionError, BuildError, ServiceError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{where}: make room, or choose another --output.", file=sys.stderr)
        return 1
    return 0


def build(options: Options, rest: list[str]) -> None:
    """Plans, builds what is not yet built, and finishes."""
    start = time.monotonic()
    plan = _plan(options, rest)
    print(plan_table(plan), file=sys.stderr)
    for note in plan_notes(plan):
        print(note, file=sys.stderr)
    if options.dry_run:
        return
    todo = unfinished(options.output, plan)
    if options.retry_failed:
        todo += with_failures(options.output, plan)
    if len(todo) < len(plan.shards):
        print(f"{len(plan.shards) - len(todo)} of {len(plan.shards)} shards are finished already", file=sys.stderr)
    if todo:
        threads = options.threads if all(spec.kind not in FILES for spec in plan.sources) else 1
        shards = BuildShards(options.output, todo, plan.sources, options.recipe, options.live_settings, threads)
        with Progress(options.output, plan):
            run(lambda pipeline: pipeline | "Build" >> shards, beam_options(options, rest, tasks=len(todo)))
    manifest = finish_corpus(options.output, plan)
    print(closing_table(manifest, time.monotonic() - start), file=sys.stderr)


def _plan(options: Options, rest: list[str]) -> Plan:
    """Reads the plan of an earlier run of the same command, or makes one."""
    existing = read_plan(options.output)
    if existing is not None:
        _refuse_other_plan(existing, options)
        if not options.dry_run and (options.retry_failed or unfinished(options.output, existing)):
            _check(options, existing.sources)
        return retry_searches(options, existing, rest) if options.retry_failed else existing
    if options.retry_failed:
        raise OptionError(f"--retry_failed needs a corpus to mend, and {options.output} holds none: check --output.")
    output = Path(options.output)
    if output.exists() and any(entry.name != FOLDER for entry in output.iterdir()):
        raise OptionError(f"The folder {output} is not empty and holds no plan of sameplace: choose another --output.")
    is_new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    if not os.access(output, os.W_OK):
        raise OptionError(f"The folder {output} cannot be written: choose another --output, or change its permissions.")
    try:
        if options.region == "demo" and not options.sources:
            spec, places = prepare_demo(options)
            return make_plan(options, [spec], rest, listed=places)
        specs, notes = resolve_sources(options)
        for note in notes + _check(options, specs):
            print(note, file=sys.stderr)
        return make_plan(options, specs, rest)
    except (ValueError, BuildError):
        if is_new or not any(output.iterdir()):
            shutil.rmtree(output)
        raise


def _check(options: Options, specs: list[SourceSpec]) -> list[str]:
    """Asks the services whether they are there, and then for what they need."""
    notes = check_services(options, specs)
    check_contact(options, specs)
    return notes


def _refuse_other_plan(existing: Plan, options: Options) -> None:
    for name, value in options.shaping().items():
        if (planned := existing.options.get(name)) != value:
            raise OptionError(
                f"{Path(options.output) / FOLDER} was planned with --{name} {planned!r}, not {value!r}: "
                "give the same options to go on with it, or another --output."
            )


if __name__ == "__main__":
    sys.exit(main())
