# make design   64 promoters from a fresh clone: sets up .venv, runs, says where to look
# make test     the same set-up with the developer's tools, then every check
# make science  the slow tests
# make arena    benchmarks/ARENA.md anew; the landscape's table lies in DATA (default: the folder dna/ of GENDESIGN_DATA);
#               what has been run is kept in runs/, so that a run that was ended goes on
# make arena-exact   its exact part alone (TF-bind-8): half an hour of one core, by the page's own count
# make train-NAME   trains configs/train/NAME.yaml (toy_2d, image_digits, image_digits_edm, image_folder, table, ...)
#                   with more arguments in ARGS: make train-image_folder ARGS='--data.path pictures/'
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help design test lint types layers pytest science arena arena-exact clean

VENV ?= .venv
OUT ?= outputs/design
BIN := $(VENV)/bin
PY := $(BIN)/python
# the first Python that is new enough; override with `make PYTHON=/path/to/python3.12 ...`
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && { command -v $$p; break; }; done)
PIP := $(PY) -m pip --disable-pip-version-check -qq install --no-compile -c constraints.txt
# Without an NVIDIA GPU, PyTorch's own index has a build some gigabytes smaller; it is used if it answers.
CPU_INDEX := https://download.pytorch.org/whl/cpu

help:
	@sed -n 's/^# \(make .*\)/\1/p; s/^# \( .*\)/\1/p' Makefile

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "gendesign needs Python 3.11 or newer (with venv); python3 here is: $$(python3 --version 2>&1). Install one, or: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@echo "setting up $(VENV) with $(PYTHON); about 1.5 GB to install"
	@"$(PYTHON)" -m venv $(VENV)
	@if [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1 \
	  && $(PY) -c 'import urllib.request as u; u.urlopen("$(CPU_INDEX)/torch/", timeout=5)' 2>/dev/null; then \
	  echo "no NVIDIA GPU found: installing the CPU build of PyTorch"; \
	  $(PIP) --extra-index-url $(CPU_INDEX) torch || true; fi
	@touch $@

# a stamp each, so that a second `make` installs nothing
$(VENV)/.runtime: $(VENV)/.created pyproject.toml constraints.txt
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.images: $(VENV)/.runtime
	@$(PIP) -e '.[images]'
	@touch $@

design: $(VENV)/.runtime
	@$(BIN)/gendesign design out=$(OUT) --resume
	@echo "open $(OUT)/report.html; the designs are in $(OUT)/designs.fasta and $(OUT)/designs.csv"

test: lint types layers pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

# one thread each: two processes on two cores that each want both wait for each other
pytest: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(PY) -m pytest -m 'not slow' -n 2 --dist worksteal

$(VENV)/.ray: $(VENV)/.runtime
	@$(PIP) -e '.[ray]'
	@touch $@

science: $(VENV)/.dev $(VENV)/.ray
	$(PY) -m pytest -m slow

DATA ?= $(GENDESIGN_DATA)/dna
ARENA := --data "$(DATA)" --out runs/arena

# every step keeps what it made, in runs/, and goes on from there
arena: arena-exact
	$(BIN)/gendesign compare yeast_promoters out=runs/compare_yeast --resume
	$(PY) benchmarks/arena.py $(ARENA) --compared runs/compare_yeast

arena-exact: $(VENV)/.runtime
	@test -f "$(DATA)/tfbind8_SIX6_REF_R1.csv.gz" || { echo "make $@ needs tfbind8_SIX6_REF_R1.csv.gz in DATA, which is '$(DATA)'; give make $@ DATA=FOLDER" >&2; exit 2; }
	test -d runs/arena/backbone || $(PY) benchmarks/landscape.py $(ARENA)
	test -d runs/arena/value || $(PY) benchmarks/arena_value.py $(ARENA)
	$(PY) benchmarks/arena_tuned.py $(ARENA)
	$(PY) benchmarks/arena.py $(ARENA)

train-%: $(VENV)/.images
	$(BIN)/gendesign fit --config configs/train/$*.yaml $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
