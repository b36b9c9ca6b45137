# Every target sets up what it needs: the virtual environment is made where there is none, and brought up to date
# when pyproject.toml or constraints.txt changes.
#   make demo                               everything on the embedded example
#   make pretrain RECIPE=laptop WORK=DIR ARGS="--pretrain.duration '100 steps'"    one command of a recipe
#   make pretrain RECIPE=vit_b32 GPUS=8 NODES=4 RENDEZVOUS=node-1:29500 WORK=DIR   the same on each of four nodes

PYTHON ?= python3
RECIPE ?= demo
WORK ?=
ARGS ?=
GPUS ?=
NODES ?=
RENDEZVOUS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
COMMANDS := queries build-dataset dedup-check pretrain evaluate stats \
            train-detector calibrate dedup-within remove train-tokenizer
BENCHMARKS := $(wildcard benchmarks/bench_*.py)

# One more than two cores, as some tests wait; each takes 1 to 2 GB.
TEST_PROCESSES ?= 3
PYTEST := $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
KERNEL_TESTS := tests/openwit/kernels tests/wit_queries/matching tests/wit_queries/text \
                tests/wit_queries/terms/test_word_counts.py tests/wit_queries/terms/test_bigrams.py \
                tests/datagen/sources tests/datagen/select tests/datagen/duplicates/index tests/models/tokenizer

SECTION := $(if $(filter train-detector,$(MAKECMDGOALS)),detector,pretrain)
CLUSTER := $(if $(GPUS),--$(SECTION).ranks '$(GPUS)') $(if $(NODES),--$(SECTION).nodes '$(NODES)') \
           $(if $(RENDEZVOUS),--$(SECTION).rendezvous '$(RENDEZVOUS)')

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-all test-bounds check bench clean $(COMMANDS)

help:
	@echo "make demo            everything on the embedded example, in runs/demo"
	@echo "make test-fast       the tests to run before each commit, under 3 minutes: without those marked slow"
	@echo "make test            the test suite, under 10 minutes on two cores; TEST_PROCESSES=8 where there are more"
	@echo "make test-all        the same with each matrix whole (every kill, the longest trainings), and test-bounds"
	@echo "make test-bounds     the tests of compiled kernels, each access to an array checked"
	@echo "make check           ruff and mypy"
	@echo "make bench           every benchmark, quickly"
	@echo "make clean           remove caches (not .venv, not runs)"
	@echo "make COMMAND         COMMAND is one of $(COMMANDS);"
	@echo "                     RECIPE=demo by default, WORK=DIR for another work folder,"
	@echo "                     ARGS=\"--section.field VALUE\" for more;"
	@echo "                     pretrain, train-detector: GPUS=8, on each of NODES=4 with RENDEZVOUS=HOST:PORT"
	@echo "PYTHON=python3.12    the Python (3.11 to 3.13) to make .venv with"

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	    { echo "make: $(PYTHON) is not Python 3.11, 3.12 or 3.13; give one: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing openwit's libraries into $(VENV) (about 6.5 GB with torch: some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	@touch $@

demo: $(READY)
	$(BIN)/openwit demo $(if $(WORK),--work '$(WORK)')

$(COMMANDS): $(READY)
	$(BIN)/openwit $@ $(RECIPE) $(if $(WORK),--work '$(WORK)') $(if $(filter pretrain train-detector,$@),$(CLUSTER)) $(ARGS)

test-fast: $(READY)
	$(PYTEST) -m 'not slow'

test: $(READY)
	$(PYTEST)

test-all: $(READY) test-bounds
	$(PYTEST) --all

test-bounds: $(READY)
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR='$(CURDIR)/$(VENV)/bounds-checked' $(PYTEST) $(KERNEL_TESTS) --ignore=tests/openwit/kernels/test_compiled.py

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	@for script in $(BENCHMARKS); do echo "$$script --quick"; $(BIN)/python $$script --quick || exit 1; done

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
