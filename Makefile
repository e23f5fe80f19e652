# Every target sets up what it needs; nothing has to be installed before but Python 3.11 or newer.
.DEFAULT_GOAL := help
.PHONY: help setup up down status demo test test-all bench walk chaos chaos-workers chaos-services chaos-memory chaos-conversation chaos-stack lint style clean

PY := .venv/bin/python
stack = $(PY) -m deploy.local

help: ## Show this list
	@echo 'make TARGET, where TARGET is one of'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## Make .venv from the lock, checked by hash; PYTHON=... chooses the interpreter
	@scripts/setup

up: setup ## Start the whole system on this machine and return; DATA=folder, ARGS='--redis-port 6380'
	@$(stack) up $(if $(DATA),--data '$(DATA)') $(ARGS)

down: ## Stop it; all data is kept
	@test -x $(PY) || { echo 'nothing runs: nothing was set up yet'; exit; }; $(stack) down $(if $(DATA),--data '$(DATA)')

status: ## Show its processes
	@test -x $(PY) || { echo 'nothing runs: nothing was set up yet'; exit; }; $(stack) status $(if $(DATA),--data '$(DATA)') || true

demo: setup ## Run a fleet of agents for a minute on a throw-away folder and report; KEEP=1 leaves it running, JSON=file
	@$(PY) -m deploy.local.demo $(if $(KEEP),--keep) $(if $(JSON),--json '$(JSON)') $(ARGS)

test: ## Run the tests against real servers, without the long ones; ARGS='tests/unit -k ledger'
	@scripts/setup --dev
	@scripts/test $(ARGS)

test-all: ## Run every test, also the long ones: whole stacks, kills, long histories (20 minutes)
	@scripts/setup --dev
	@scripts/test --all

bench: ## Measure against named references and print the table; ONLY=effects runs one group, QUICK=1 small sizes
	@scripts/setup --bench
	@$(PY) -m bench $(foreach group,$(ONLY),--only $(group)) $(if $(QUICK),--quick) $(ARGS)

walk: ## Trace which files a bet, its replay and the verbs of memory pass, and apply the bars; ARGS=--routes names the files
	@scripts/setup --dev
	@$(PY) -m bench.walk $(ARGS)

chaos: ## Kill a betting process at every point it passes and count what happened; some minutes; ARGS='--sample 20 --seed 1'
	@scripts/setup --dev
	@$(PY) -m tests.chaos money $(ARGS)

chaos-workers: ## 1,500 bets through workers while 110 of their processes are killed and Redis is emptied twice; ARGS='--seed 1'
	@scripts/setup --dev
	@$(PY) -m tests.chaos workers $(ARGS)

chaos-memory: ## Kill worker, index, Redis and Postgres while agents remember 20,000 things, then what moves the index; ARGS='--memories 2000'
	@scripts/setup --dev
	@$(PY) -m tests.chaos memory $(ARGS)

chaos-conversation: ## Write to 200 conversations while the provider fails and invents and workers are killed; ARGS='--conversations 20'
	@scripts/setup --dev
	@$(PY) -m tests.chaos conversation $(ARGS)

chaos-services: ## Run a fleet against the sandbox with every fault of the services on; ARGS='--operations 2000 --seed 3'
	@scripts/setup --dev
	@$(PY) -m tests.chaos services $(ARGS)

chaos-stack: ## Kill every process of the stack again and again while an agent writes; some minutes, the table in build/
	@scripts/setup --dev
	@$(PY) -m tests.chaos stack $(ARGS)

lint: ## Run all linters
	@scripts/setup --dev
	@scripts/lint

style: ## Count names, riddles, fragments and circles against their bars, beside procrastinate and DBOS
	@scripts/setup --bench
	@mkdir -p build && $(PY) scripts/style.py --beside procrastinate dbos --json build/style.json

clean: ## Remove caches and build results; the data and .venv stay
	@scripts/clean
