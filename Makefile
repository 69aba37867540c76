# make run | demo | test | test-all. The environment is made once; a stamp newer than the requirements means it is current.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY := passive
export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run demo test test-all clean

run: $(VENV)/app.stamp
	$(BIN)/python app.py

demo: $(VENV)/app.stamp
	$(BIN)/python -m pipeline run examples/tiny-yoda.json

test: $(VENV)/test.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

$(VENV)/app.stamp: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$$(grep '^torch==' requirements.txt)"
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip check
	touch $@

$(VENV)/test.stamp: tests/requirements.txt $(VENV)/app.stamp
	$(BIN)/pip install --quiet -r tests/requirements.txt
	$(BIN)/pip check
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; } || $(BIN)/playwright install chromium
	touch $@

clean:
	rm -rf $(VENV)
