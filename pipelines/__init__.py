"""Beam wiring: plan, build, finish. Never loads torch. What a step does stands in `geodata`; here it is put together."""
