# carescene: `make` alone says what can be made.
PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
VENV := .venv/.installed

# Open3D's shared libraries, and the compiler with which DeepSpeed builds its CPU communication.
SYSTEM_PACKAGES := libusb-1.0-0 libgl1 libgomp1 libegl1 libx11-6 g++

# Ray's workers and `ray job submit` take `python` from PATH; nothing may ask a model hub.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export HF_HUB_OFFLINE := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help demo test lint docs bench bench-recon bench-reconstruct bench-model clean

help:
	@echo "make demo    the whole pipeline on this machine: rooms, training, generation, pictures in demo/"
	@echo "make test    all tests (a part: .venv/bin/python tests/run_tests.py tests/motion -k features)"
	@echo "make lint    format, lint, types, who may import whom, and whether the docs build"
	@echo "make docs    the API reference, in build/docs/index.html"
	@echo "make bench   the benchmarks; make bench-recon those of the reconstruction,"
	@echo "             make bench-reconstruct of its job, make bench-model of the model's speed"
	@echo "make clean   remove demo/ and the caches; .venv stays"
	@echo "Each makes .venv from cluster/requirements.lock first when it is missing or older than the lock."

demo: $(VENV)
	python -m ray_jobs.demo

# The pure tests run on all cores; Ray's tests have the machine to themselves, as its workers yield to everything else.
test: $(VENV)
	python tests/run_tests.py --numprocesses auto tests/motion tests/recon $(wildcard tests/test_*.py)
	python tests/run_tests.py tests/ray_jobs tests/e2e

lint: $(VENV)
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	$(MAKE) --no-print-directory docs

# Each module by its own name, parents first, and with it out of the list again: pdoc follows __all__, which names no
# submodules, and refuses a name that comes twice. A warning, such as of an annotation that means nothing, is an error.
MODULES = $(subst /,.,$(patsubst %/__init__,%,$(filter-out %/__main__,$(basename $(SOURCES)))))
SOURCES = $(sort $(shell find motion recon ray_jobs -name '*.py'))
docs: $(VENV)
	@PDOC_ALLOW_EXEC=1 python -W error::UserWarning -m pdoc --docformat markdown --output-directory build/docs \
	  $(foreach module,$(MODULES),'!$(module)\b' $(module))

bench: $(VENV)
	python -m tests.benchmarks

bench-recon: $(VENV)
	python -m tests.benchmarks recon

bench-reconstruct: $(VENV)
	python -m tests.benchmarks reconstruct

bench-model: $(VENV)
	python -m tests.benchmarks model

clean:
	rm -rf demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find motion recon ray_jobs tests -name __pycache__ -type d -exec rm -rf {} +

$(VENV): cluster/requirements.lock
	@dpkg -s $(SYSTEM_PACKAGES) >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $(SYSTEM_PACKAGES); \
	  else \
	    echo "carescene needs these system packages (Debian's names), please install them: $(SYSTEM_PACKAGES)" >&2; \
	  fi; }
	$(PYTHON) -m venv .venv
	@echo "Installing cluster/requirements.lock into .venv: 8.5 GiB, a few minutes"
	python -m pip install -qq -r cluster/requirements.lock
	python -m pip install -qq --no-deps --no-build-isolation -e .
	touch $@
