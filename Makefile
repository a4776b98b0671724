# make demo    the whole path on real recordings; make test    the whole test suite;
# make test-latest    the same with the latest TensorFlow that setup.cfg allows;
# make bench    ours against the alternatives, as benchmarks/results.json
# make demo-bilingual    systems for low-resource languages, compared on made images;
# STAMPS_DIR=DIR takes the demos' stamps from a folder instead of from apt.
# WITHOUT_AVX512=1 tests as on a processor without AVX-512: it is hidden from oneDNN, from
# NumPy and from OpenBLAS. Eigen's own code in TensorFlow's wheel has no AVX-512; from XLA,
# which has, nothing hides it.
PYTHON ?= python3
PY := .venv/bin/python
# A test file is run by one process, so that its fixtures are made once. A process waits now
# and then, so there is one more than cores, but at most four: each takes up to 3 GB.
N_TESTING := $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 4)))
# After a crash pytest-xdist would wait for the files of the process that is gone.
IN_PARALLEL := --numprocesses=$(N_TESTING) --dist=loadfile --max-worker-restart=0
ifdef WITHOUT_AVX512
OF_NUMPY := AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL
ENVIRONMENT = ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell \
  NPY_DISABLE_CPU_FEATURES="$(OF_NUMPY)"
endif

.PHONY: setup demo demo-bilingual test test-fast test-latest test-latest-fast bench lint types format clean

setup: .venv/up-to-date

.venv/up-to-date: constraints.txt
.venv-latest/up-to-date: constraints-latest.txt
.venv/up-to-date .venv-latest/up-to-date: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --constraint $(filter constraints%,$^) \
	  pip setuptools wheel
	$(@D)/bin/python -m pip install --quiet --constraint $(filter constraints%,$^) \
	  --no-build-isolation --editable '.[test]'
	touch $@

demo demo-bilingual: setup
demo-bilingual: SELECTED := --bilingual
demo demo-bilingual:
	$(PY) -m data_prep.demo --out_dir=. $(SELECTED) $(if $(STAMPS_DIR),--stamps_dir=$(STAMPS_DIR))

test test-fast: .venv/up-to-date
test-latest test-latest-fast: .venv-latest/up-to-date
test-latest test-latest-fast: PY := .venv-latest/bin/python
test-latest test-latest-fast: OF_NUMPY := X86_V4 AVX512_ICL AVX512_SPR
test-fast test-latest-fast: SELECTION := -m 'not slow'
test test-fast test-latest test-latest-fast:
	$(ENVIRONMENT) $(PY) -m pytest $(IN_PARALLEL) $(SELECTION)

bench: .venv/bench-up-to-date
	$(PY) -m benchmarks.run
	! grep -qw avx512f /proc/cpuinfo || $(PY) -m benchmarks.run --avx2
	$(PY) -m benchmarks.run --show

.venv/bench-up-to-date: .venv/up-to-date
	$(PY) -m pip install --quiet --constraint constraints.txt --no-build-isolation \
	  --editable '.[bench]'
	touch $@

lint: types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: setup
	$(PY) -m mypy

format: setup
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf .venv .venv-latest build *.egg-info
