# Everything lands in .venv; Debian packages for the real schedulers are the one exception (see sandbox/debian.sh).
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
PYTHON ?= python3
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup schedulers demo test check bench format events lock package deb docs reference clean man

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) schedulers ## create .venv and install what the lock names; real schedulers where root on Debian allows

$(STAMP): setup.cfg requirements.lock sandbox/venv.sh
	@sh sandbox/venv.sh $(PYTHON) $(VENV)
	@touch $@

schedulers:
	@sh sandbox/debian.sh

demo: setup ## run a whole cluster and judge it (ARGS="--json", ARGS="--scheduler local", ...)
	@$(BIN)/headnode demo $(ARGS)

test: check schedulers ## set up, check and run every test (ARGS="-k slurm" selects)
	$(BIN)/python -m pytest --cov --cov-report=term $(ARGS)

check: $(STAMP) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup ## measure what is promised (ARGS="--json")
	@for name in $(patsubst benchmarks/%.py,%,$(filter-out %/__init__.py %/report.py %/judge.py,$(wildcard benchmarks/*.py))); do \
		$(BIN)/python -m benchmarks.$$name $(ARGS) || failed=1; \
	done; test -z "$$failed"

man: $(STAMP) ## write docs/headnode.1 anew from what the commands say of themselves
	$(BIN)/headnode man > docs/headnode.1

format: $(STAMP) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

events: $(STAMP) ## write docs/events.md anew from daemons/events.py
	$(BIN)/headnode events --markdown > docs/events.md

lock: $(STAMP) ## resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile -q --upgrade setup.cfg --all-extras --generate-hashes --python-version 3.11 --universal \
		--no-header --no-emit-index-url --no-emit-find-links -o requirements.lock

package: $(STAMP) ## build the wheel and the source distribution into dist/, without a network
	$(BIN)/uv build -q --offline --no-build-isolation -o dist .
	@ls dist/*.whl dist/*.tar.gz

deb: $(STAMP) ## build the Debian package into dist/, without a network
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || date +%s)} $(BIN)/python debian/build.py dist

docs: $(STAMP) ## build the pages into build/docs; a warning is an error
	$(BIN)/python -m sphinx -q -W -n --keep-going -b html docs build/docs
	@echo build/docs/index.html

reference: $(STAMP) ## write anew what docs/ has of the program: references, screens, events, manual page
	$(BIN)/python -m docs.make

clean: ## remove everything that the other targets made
	rm -rf $(VENV) build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
