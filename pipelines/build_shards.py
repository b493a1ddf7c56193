"""Builds a corpus: region -> plan -> shards -> index, manifest and card. `--help` lists the options."""

import sys
from dataclasses import replace

from geodata.services.session import ServiceError
from pipelines.building.build import BuildShards
from pipelines.building.failures import check_built, forget_failures
from pipelines.building.shards import unfinished
from pipelines.corpus.finish import finish_corpus
from pipelines.corpus.report import Progress, closing_table, plan_notes, plan_table
from pipelines.engine.command import run_command
from pipelines.engine.log import Log
from pipelines.engine.run import BuildError, beam_options, prepare, run
from pipelines.engine.workers import fork_ahead
from pipelines.files import storage
from pipelines.files.lock import hold
from pipelines.plan.options import Options, parse_options
from pipelines.plan.partition import mark, parse_partition, take
from pipelines.plan.plan import Plan, ShardPlan, commit, tidy
from pipelines.planning.open import open_plan
from pipelines.planning.retry import with_failures
from pipelines.sources.words import FILES
from schemas.corpus import MANIFEST


def main(arguments: list[str] | None = None) -> int:
    """Runs a build and returns the exit status: 0 done, 1 a sentence on stderr says why not."""
    is_command, arguments = arguments is None, sys.argv[1:] if arguments is None else arguments
    log = Log("--log_json" in arguments)
    log.catch_logging()

    def work() -> None:
        options, rest = parse_options(arguments)
        if is_command and options.runner == "FnApiRunner":
            fork_ahead(options.workers - 1)
        build(options, rest, log)

    room = "make room, or choose another --output"
    return run_command(work, BuildError, ServiceError, ValueError, log=log, remedy=room)


def build(options: Options, rest: list[str], log: Log) -> None:
    """Plans, builds what is not yet built, and finishes."""
    prepare(options, rest)
    with hold(options.output, options.partition):
        _run(options, rest, log)


def _run(options: Options, rest: list[str], log: Log) -> None:
    plan = open_plan(options, rest, log)
    if options.dry_run and plan.shards:
        from pipelines.cost.pilot import price_plan  # with all that reads: only for those who ask what it costs

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


if __name__ == "__main__":
    sys.exit(main())
