# make corpus            a corpus of the synthetic demo region in shards/demo
# make corpus REGION=europe SOURCES=folder:my_files OUTPUT=shards/mine SAMPLES=10000 RUNNER=FnApiRunner
REGION ?= demo
OUTPUT ?= shards/$(REGION)
SAMPLES ?=
SOURCES ?=
RUNNER ?= FnApiRunner
ARGS ?=

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: setup corpus train evaluate explore test check bench

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[corpus,training,dev]' -c constraints.txt
	touch $(READY)

corpus: setup
	$(PYTHON) -m pipelines.build_shards --region '$(REGION)' --output '$(OUTPUT)' --runner '$(RUNNER)' \
	  $(if $(SAMPLES),--samples '$(SAMPLES)') $(if $(SOURCES),--sources '$(SOURCES)') $(ARGS)

test: setup
	$(PYTHON) -m pytest $(ARGS)

check: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(PYTHON) -m pytest $(ARGS)

bench: setup
	$(PYTHON) -m tests.benchmarks.codec
	$(PYTHON) -m tests.benchmarks.build $(ARGS)

train evaluate:
	@echo 'make $@ is not there yet: the trainer comes with a later version; the shards are ready for it.' >&2; exit 2

explore:
	@echo 'make explore is not there yet: until then QGIS opens index.parquet and any GeoTIFF member.' >&2; exit 2
