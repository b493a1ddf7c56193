"""Beam wiring: plan, build, finish. Never loads torch. What a step does stands in `geodata`, how they meet here.

The modules of this folder are what `python -m` runs; they use the rooms below, and a room uses those before it:
files, plan, engine, sources, building, cost, planning, corpus, verification, exploring.
"""

import gc
import logging

# Beam without its gcp extra warns of missing BigQuery clients when it is imported; nobody here asked for them.
logging.getLogger().addFilter(lambda record: "bigquery client libraries are not" not in str(record.msg))


def _load_beam() -> None:
    """Loads Beam, which is most of what a process needs to start, with the garbage collector at rest.

    Imports make much that stays and hardly any garbage: looking for it costs a quarter of their time. What has come is
    then left out of later searches.
    """
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        import apache_beam  # noqa: F401
    finally:
        if is_collecting:
            gc.enable()
    gc.freeze()


_load_beam()
