"""Beam wiring: plan, build, finish. Never loads torch. What a step does stands in `geodata`, how they meet here.

The modules of this folder are what `python -m` runs; they use the rooms below, and a room uses those before it:
files, plan, engine, sources, building, cost, planning, corpus, verification.
"""

import logging

# Beam without its gcp extra warns of missing BigQuery clients when it is imported; nobody here asked for them.
logging.getLogger().addFilter(lambda record: "bigquery client libraries are not" not in str(record.msg))
