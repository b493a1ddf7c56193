"""Checks what a live build needs: which services answer, with which credentials, and whether there is room.

python -m pipelines.doctor --region LU --contact you@example.org

It takes the options of `pipelines.build_shards`, asks each service once, and writes nothing.
"""

import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from geodata.regions import find_region
from pipelines.cost.estimate import METADATA_BYTES
from pipelines.cost.measures import WEIGHTS
from pipelines.engine.command import run_command
from pipelines.engine.run import check_flags
from pipelines.plan.options import DEMO_SAMPLES, OPEN_SAMPLES, Options, parse_options
from pipelines.sources.live import Finding, examine_services, resolve_sources


def main(arguments: list[str] | None = None) -> int:
    """Prints the table and returns the exit status: 0 if a build can begin, 1 otherwise."""
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s", force=True)
    given = sys.argv[1:] if arguments is None else arguments
    if not any(argument.partition("=")[0] == "--output" for argument in given):
        given = [*given, "--output", "shards"]
    return run_command(lambda: _examine(given), ValueError)


def _examine(arguments: list[str]) -> int:
    options, rest = parse_options(arguments)
    check_flags(rest)
    findings = diagnose(options)
    print(table(findings))
    return 0 if all(finding.is_good for finding in findings) else 1


def diagnose(options: Options) -> list[Finding]:
    """Returns what was found of the region, each service, each credential and the disk."""
    if options.region == "demo":
        return [Finding("region", True, "demo", "synthetic: needs no service"), _disk(options)]
    region = find_region(options.region)
    west, south, east, north = region.boxes[0]
    where = f"{options.region}: {west:.2f} ... {east:.2f} E, {south:.2f} ... {north:.2f} N"
    specs, _ = resolve_sources(replace(options, require=""))
    return [Finding("region", True, where, ""), *examine_services(options, specs, region), _disk(options)]


def table(findings: list[Finding]) -> str:
    """Returns the findings, one a line, with what to do where something is missing."""
    wide = max(len(finding.found) for finding in findings)
    lines = [f"{'what':<16} {'':<3} {'found':<{wide}}  remedy"]
    for finding in findings:
        mark = "ok" if finding.is_good else "NO"
        lines.append(f"{finding.what:<16} {mark:<3} {finding.found:<{wide}}  {finding.remedy}".rstrip())
    return "\n".join(lines)


def _disk(options: Options) -> Finding:
    samples = options.samples or (DEMO_SAMPLES if options.region == "demo" else OPEN_SAMPLES)
    each = sum(WEIGHTS[name].stored_bytes for name in options.modality_names) + METADATA_BYTES
    folder = Path(options.output).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free, {samples * each / 1e9:.1f} GB for {samples} places"
    is_good = free > 1.2 * samples * each
    return Finding("disk", is_good, found, "" if is_good else "make room, or give another --output or fewer --samples")


if __name__ == "__main__":
    sys.exit(main())
