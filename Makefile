# make demo    the whole path on real recordings; make test    the whole test suite;
# make bench    ours against the alternatives, as benchmarks/results.json
# STAMPS_DIR=DIR takes the demo's stamps from a folder instead of from apt.
PYTHON ?= python3
PY := .venv/bin/python
DEMO := data/demo
LANGUAGES := es ro ru

.PHONY: setup demo test test-fast bench lint format clean

setup: .venv/up-to-date

.venv/up-to-date: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --constraint constraints.txt pip setuptools wheel
	$(PY) -m pip install --quiet --constraint constraints.txt --no-build-isolation \
	  --editable '.[test]'
	touch $@

demo: setup
	@set -e; started=$$(date +%s); \
	$(PY) -m data_prep.stamps --out_dir=$(DEMO) \
	  $(if $(STAMPS_DIR),--stamps_dir=$(STAMPS_DIR)); \
	built=$$(date +%s); \
	for language in $(LANGUAGES); do \
	  $(PY) -m data_prep.extract --manifest=$(DEMO)/$$language/manifest.jsonl \
	    --out_dir=$(DEMO)/$$language/records --backbone_2d=efficientnet_lite0; \
	done; \
	extracted=$$(date +%s); \
	$(PY) -m avl_tf.cascade --flagfile=configs/cascade_demo.flags --run_dir=runs/demo; \
	echo "corpus $$((built - started)) s," \
	  "extraction $$((extracted - built)) s," \
	  "cascade $$(($$(date +%s) - extracted)) s"

test: setup
	$(PY) -m pytest

test-fast: setup
	$(PY) -m pytest -m 'not slow'

bench: .venv/bench-up-to-date
	$(PY) -m benchmarks.run

.venv/bench-up-to-date: .venv/up-to-date
	$(PY) -m pip install --quiet --constraint constraints.txt --no-build-isolation \
	  --editable '.[bench]'
	touch $@

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: setup
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf .venv build *.egg-info
