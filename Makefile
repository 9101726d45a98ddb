# `make` alone shows what there is. Everything is skipped quickly where it is done already.
.DEFAULT_GOAL := help
SHELL := /bin/bash
python := .venv/bin/python
# Passed on: make demo ARGS=--check, make test ARGS="-k loop"
ARGS ?=

compile := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    $(ARGS)

.PHONY: help setup dev servers mysql9 browser demo test soak check bench peers lock clean

help: ## show this list
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## */  make \1\t/' | expand -t 18

setup: ## build .venv with the service and its pinned dependencies
	@scripts/install venv

dev: ## build .venv with what tests and checks need on top
	@scripts/install venv dev

servers: ## install MariaDB, Redis and PostgreSQL from Debian, not started
	@scripts/install servers

mysql9: ## fetch MySQL 9 into the user's cache folder
	@scripts/install mysql9

browser: ## install Chromium from Debian
	@scripts/install browser

demo: setup servers ## private databases, live traffic, admin page; ARGS=--check for a bounded run that verifies itself
	.venv/bin/datong demo $(ARGS)

test: dev servers mysql9 browser ## all tests but the long ones, with real servers
	$(python) -m pytest -q -n 2 --dist worksteal --durations=30 $(ARGS)

soak: dev servers mysql9 browser ## the long forms of the tests: hours
	$(python) -m pytest -q -m soak --timeout=0 $(ARGS)

check: dev ## ruff, formatting, mypy, import rules
	@status=0; \
	for command in "ruff check" "ruff format --check" "mypy" "lint-imports"; do \
	    echo "$$command"; .venv/bin/$$command || status=1; \
	done; \
	exit $$status

# make bench ARGS="write --quick"; what there is to measure: bench/README.md
bench: dev servers mysql9 peers ## benchmarks beside peers, with servers of their own; ARGS="read --quick --json"
	$(python) -m bench $(or $(ARGS),read)

peers: dev ## the peers that benchmarks compare with, into bench/peers/.venv (Debezium, which needs a JVM)
	@bench/peers/install

# `make lock ARGS=--upgrade` takes newer versions; without it, versions stay where the .in files allow.
lock: dev ## write the lock files anew from the .in files, with hashes
	$(compile) -o requirements.lock requirements.in
	$(compile) --constraint requirements.lock -o requirements-dev.lock requirements-dev.in
	$(compile) -o bench/peers/requirements-peers.lock bench/peers/requirements-peers.in

clean: ## remove .venv and all caches; never var/, where a deployment keeps its state
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
