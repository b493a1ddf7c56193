"""Builds a corpus: region -> plan -> shards -> index, manifest and card. `--help` lists the options."""

import sys
from dataclasses import replace
from pathlib import Path

from geodata.regions import RegionError
from geodata.services.session import ServiceError
from geodata.sources import SourceError
from pipelines import storage
from pipelines.build import BuildShards
from pipelines.dataflow import check_reach
from pipelines.demo import demo_source, prepare_demo
from pipelines.failures import check_built, forget_failures
from pipelines.finish import finish_corpus
from pipelines.live import check_contact, check_services, resolve_sources
from pipelines.log import Log
from pipelines.options import OptionError, Options, parse_options
from pipelines.partition import mark, parse_partition, take
from pipelines.pilot import price_plan
from pipelines.plan import FOLDER, Plan, ShardPlan, SourceSpec, commit, read_plan, tidy
from pipelines.planning import grow_plan, make_plan
from pipelines.report import Progress, closing_table, plan_notes, plan_table
from pipelines.retry import retry_searches, with_failures
from pipelines.run import BuildError, beam_options, prepare, run
from pipelines.shards import unfinished
from pipelines.sources import FILES
from schemas.corpus import MANIFEST


def main(arguments: list[str] | None = None) -> int:
    """Runs a build and returns the exit status: 0 done, 1 a sentence on stderr says why not."""
    arguments = sys.argv[1:] if arguments is None else arguments
    log = Log("--log_json" in arguments)
    log.catch_logging()
    try:
        options, rest = parse_options(arguments)
        build(options, rest, log)
    except (OptionError, SourceError, RegionError, BuildError, ServiceError, ValueError) as error:
        log.say("error", f"error: {error}")
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        log.say("error", f"error: {error.strerror or error}{where}: make room, or choose another --output.")
        return 1
    return 0


def build(options: Options, rest: list[str], log: Log) -> None:
    """Plans, builds what is not yet built, and finishes."""
    prepare(options, rest)
    plan = _plan(options, rest, log)
    if options.dry_run and plan.shards:
        plan = price_plan(options, plan)
        commit(options.output, plan)
    log.say("plan", plan_table(plan), places=plan.places, shards=len(plan.shards), estimate=plan.estimate)
    for note in plan_notes(plan):
        log.say("note", note)
    if options.dry_run or options.plan_only:
        return
    storage.check_writable(options.output)
    tidy(options.output, plan)
    partition = parse_partition(options.partition)
    mine = take(plan.shards, partition)
    if partition is not None:
        mark(options.output, partition)
    todo = unfinished(options.output, replace(plan, shards=mine))
    if options.retry_failed:
        todo += with_failures(options.output, plan)
        storage.delete([storage.join(options.output, MANIFEST)])  # it tells of shards that now change
    if len(todo) < len(mine):
        log.say("resume", f"{len(mine) - len(todo)} of {len(mine)} shards are finished already")
    if todo:
        _build(options, rest, plan, mine, todo, log)
    if partition is not None:
        done = f"part {options.partition}: {len(mine)} shards are built; when all parts are, run "
        log.say("part", f"{done}python -m pipelines.finish {options.output}", shards=len(mine))
        return
    manifest = finish_corpus(options.output, plan)
    facts = {name: manifest[name] for name in ("counts", "observations", "drops")}
    log.say("done", closing_table(manifest, log.seconds), **facts, seconds=round(log.seconds, 1))


def _build(
    options: Options, rest: list[str], plan: Plan, mine: list[ShardPlan], todo: list[ShardPlan], log: Log
) -> None:  # fmt: skip
    """Builds shards; those that fail are reported when all others are done."""
    forget_failures(options.output, todo)
    threads = options.threads if all(spec.kind not in FILES for spec in plan.sources) else 1
    shards = BuildShards(
        options.output, todo, plan.sources, options.recipe, options.live_settings, threads, options.overdue
    )
    with Progress(options.output, mine, todo, log):
        run(lambda pipeline: pipeline | "Build" >> shards, beam_options(options, rest, tasks=len(todo)))
    check_built(options.output, plan, todo)


def _plan(options: Options, rest: list[str], log: Log) -> Plan:
    """Reads the plan of an earlier run of the same command, makes one, or lets it grow."""
    existing = read_plan(options.output)
    if existing is not None:
        is_growing = _compare(existing, options)
        if is_growing and (options.dry_run or options.retry_failed):
            raise OptionError(
                f"The corpus in {options.output} would grow to {options.samples} samples: run --retry_failed before or "
                "after that, and --dry_run with another --output."
            )
        if not options.dry_run and (is_growing or options.retry_failed or unfinished(options.output, existing)):
            _check(options, existing.sources, rest)
        if is_growing:
            return grow_plan(options, existing, rest, listed=_listed(options))
        return retry_searches(options, existing, rest) if options.retry_failed else existing
    if options.retry_failed:
        raise OptionError(f"--retry_failed needs a corpus to mend, and {options.output} holds none: check --output.")
    if options.partition:
        raise OptionError(
            f"{options.output} holds no plan yet, and the parts of one must share it: run the same command once with "
            f"--plan_only in place of --partition {options.partition}."
        )
    strangers = [name for name in storage.list_files(options.output) if not name.startswith(f"{FOLDER}/")]
    if strangers:
        raise OptionError(
            f"The folder {options.output} is not empty and holds no plan of sameplace: choose another --output."
        )
    is_new = not storage.is_remote(options.output) and not Path(options.output).exists()
    storage.check_writable(options.output)
    try:
        if options.region == "demo" and not options.sources:
            check_reach(options, [demo_source(options)], rest)
            spec, places = prepare_demo(options)
            return make_plan(options, [spec], rest, listed=places)
        specs, notes = resolve_sources(options)
        for note in notes + _check(options, specs, rest):
            log.say("note", note)
        return make_plan(options, specs, rest)
    except (ValueError, BuildError) as error:
        # what was found before a service or a worker failed is kept for the next run
        if is_new and (isinstance(error, OptionError) or not storage.list_files(options.output)):
            storage.delete_folder(options.output)
        raise


def _listed(options: Options) -> str:
    """Returns the file of places of the demo, written anew for as many as are wanted; "" for other regions."""
    return prepare_demo(options)[1] if options.region == "demo" and not options.sources else ""


def _check(options: Options, specs: list[SourceSpec], rest: list[str]) -> list[str]:
    """Asks the services whether they are there, and then for what they need."""
    check_reach(options, specs, rest)
    notes = check_services(options, specs)
    check_contact(options, specs)
    return notes


def _compare(existing: Plan, options: Options) -> bool:
    """Returns whether the corpus is to grow.

    Raises:
        OptionError: if it was planned with other options.
    """
    shaping = options.shaping()
    differing = [name for name, value in shaping.items() if existing.options.get(name) != value]
    if not differing:
        return False
    before, now = existing.options.get("samples"), options.samples
    if differing == ["samples"] and before is not None and now is not None and now > before:
        if options.partition:
            raise OptionError(f"The corpus is to grow from {before} to {now} samples: run --plan_only first.")
        return True
    changes = "; ".join(f"--{name} {existing.options.get(name)!r}, not {shaping[name]!r}" for name in differing)
    raise OptionError(
        f"{storage.join(options.output, FOLDER)} was planned with {changes}: give the same options to go on with it, a "
        "larger --samples alone to let it grow, or another --output."
    )


if __name__ == "__main__":
    sys.exit(main())
