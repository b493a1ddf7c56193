"""The plan of a run: the one that its folder holds, a larger or mended one, or a new one."""

from pipelines.building.shards import unfinished
from pipelines.engine.dataflow import check_reach
from pipelines.engine.log import Log
from pipelines.engine.run import BuildError
from pipelines.files import storage
from pipelines.files.lock import is_lock
from pipelines.plan.options import OptionError, Options
from pipelines.plan.plan import FOLDER, Plan, SourceSpec, read_plan
from pipelines.planning.make import grow_plan, make_plan
from pipelines.planning.retry import retry_searches
from pipelines.sources.demo import demo_source, prepare_demo
from pipelines.sources.live import check_contact, check_services, resolve_sources


def open_plan(options: Options, rest: list[str], log: Log) -> Plan:
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
    there = [name for name in storage.list_files(options.output) if not is_lock(name)]
    if any(not name.startswith(f"{FOLDER}/") for name in there):
        raise OptionError(
            f"The folder {options.output} is not empty and holds no plan of sameplace: choose another --output."
        )
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
        begun = storage.join(options.output, FOLDER)
        if not there and (isinstance(error, OptionError) or not storage.list_files(begun)):
            storage.delete_folder(begun)
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
