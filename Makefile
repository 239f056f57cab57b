# Every target sets up what it needs: python3 (3.11 or newer, with venv) and make are all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked
RIG ?= street
FOR ?= 60s
JOBS ?= 2

.PHONY: run test lint bench soak desk lock clean help env warm
.DEFAULT_GOAL := help

help:
	@echo "make run    the main job: the street rig, everything emulated, 60 s real time, report at the end"
	@echo "make test   the tests"
	@echo "make lint   ruff, mypy, import contracts"
	@echo "make bench  benchmarks with p50, p99, p99.9 and misses"
	@echo "make soak   two hundred runs killed at random: none may stay energised (an hour)"
	@echo "make desk   the street rig with the operator's desk in this terminal"
	@echo "make lock   write requirements.lock anew from pyproject.toml"

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "voltbench needs Python 3.11 or newer; found " + sys.version.split()[0] + " (set PYTHON=...)")'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "python3 has no venv module: install it (Debian: apt-get install python3-venv)" >&2; exit 2; }
	@echo "making the environment in $(VENV) from requirements.lock" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

run: $(STAMP)
	@$(BIN)/voltbench run $(RIG) --for $(FOR)

desk: $(STAMP)
	@$(BIN)/voltbench run $(RIG) --for $(FOR) --desk

env: $(STAMP)

# A law that nobody compiled yet is compiled by every process that starts: once before them is a minute for all.
warm: $(STAMP)
	@$(BIN)/python -c 'from controller.law import decide, image; decide.warm(image.Dims(3, 2))'

test: $(STAMP)
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(STAMP)
	@$(BIN)/python -m pytest benches -o python_files="bench_*.py" -o python_functions="test_* bench_*" \
	  --benchmark-only --benchmark-columns=median,iqr,rounds

soak: $(STAMP)
	@$(BIN)/python benches/soak_kills.py --count 200

lock: $(STAMP)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra dev \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info
