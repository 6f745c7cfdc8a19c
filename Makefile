# make app | test | check | bench | fuzz. Each target sets up what it needs: a .venv with exact pins, system libraries.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MUJOCO_GL ?= osmesa
export PYOPENGL_PLATFORM ?= $(MUJOCO_GL)
export GRADIO_ANALYTICS_ENABLED := False
export HF_HUB_OFFLINE ?= 1

APP := $(VENV)/.app
DEV := $(VENV)/.dev
WORKERS ?= 2

.PHONY: setup app test check bench fuzz clean
setup: $(DEV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || \
	  { echo "error: Python 3.11 or 3.12 is needed, $(PYTHON) is $$($(PYTHON) -V); run make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: no venv module; install it: apt-get install python3-venv"; exit 1; }

# torch first, so that nothing else drags in another build of it.
$(APP): $(BIN)/python pyproject.toml constraints.txt
	sh .ci/system-packages.sh app
	@echo 'Installing into $(VENV), once: a few minutes, mostly in silence.'
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[formats]'
	@touch $@

$(DEV): $(APP)
	sh .ci/system-packages.sh dev
	$(BIN)/pip install -q -c constraints.txt -e '.[formats,libero,ray,dev]'
	@touch $@

app: $(APP)
	$(BIN)/python app.py $(ARGS)

test: $(DEV)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not gpu" $(ARGS)

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: $(DEV)
	$(BIN)/python -m tests.bench $(ARGS)

# Goes on where the last one stopped; totals and whatever was found lie in out/fuzz.
N ?= 10000
fuzz: $(DEV)
	nice $(BIN)/python -m tests.fuzz -n $(N) $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
