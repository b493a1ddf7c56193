"""Beam wiring: plan, build, finish. Never loads torch. What a step does stands in `geodata`, how they meet here."""

import logging

# Beam without its gcp extra warns of missing BigQuery clients when it is imported; nobody here asked for them.
logging.getLogger().addFilter(lambda record: "bigquery client libraries are not" not in str(record.msg))
