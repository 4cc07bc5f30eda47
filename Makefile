# Commission Ledger: every task of the house. `make help` lists them.
# A machine needs Python 3.11 or newer, and make (GNU make 3.81, the one of macOS, is enough); everything else goes into .venv.

# The first Python on the path that is new enough; another one: `make up PYTHON=/path/to/python3.13`.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(or $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$p $(NEW_ENOUGH) >/dev/null 2>&1 && { echo $$p; break; }; done),python3)
# Nothing, or the end with one clear line.
need_python = $(if $(shell $(PYTHON) $(NEW_ENOUGH) 2>/dev/null && echo yes),,$(error Python 3.11 or newer is needed, but \
	`$(PYTHON) --version` says: $(or $(shell command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1),not found). Name another one: make PYTHON=/path/to/python3.13))

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
# Test processes: as many as there are cores.
JOBS ?= auto
PYTEST := $(BIN)/python -m pytest
# How many stories `make chaos` tells in search of a double payment; 0 is none.
SEEDS ?= 5000

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up doubles test test-api test-browser pictures test-kafka chaos bench lint format types schemas lock env clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

# `exec`, so that Ctrl-C and a SIGTERM reach the program itself, and its clean exit is ours.
up: $(VENV)/embedded.stamp ## start everything embedded, with a demo merchant (ARGS="--port 8080 --no-demo")
	@exec $(BIN)/commission-ledger up $(ARGS)

doubles: $(VENV)/dev.stamp ## Stripe and PayPal on this machine, which pay nobody (ARGS="--env-file doubles.env")
	@exec $(BIN)/python -m tests.support.doubles $(ARGS)

test: $(VENV)/dev.stamp ## the quick suite, on embedded PostgreSQL and broker (ARGS="-k intake")
	$(PYTEST) -n $(JOBS) --dist worksteal -m "not kafka and not chaos" --ignore=tests/api --ignore=tests/browser $(ARGS)

test-api: $(VENV)/dev.stamp ## the whole API against models, matrices and schemathesis; minutes (MODEL_EXAMPLES=500)
	@# What takes longest begins first.
	$(PYTEST) -n 2 --dist worksteal tests/api/test_schemathesis.py tests/api $(ARGS)

test-browser: $(VENV)/dev.stamp ## the pages in Chromium, with axe; pictures go to browser-results/ (needs chromium and npm)
	$(PYTEST) -n 2 tests/browser $(ARGS)

pictures: $(VENV)/embedded.stamp $(VENV)/dev.stamp ## take the pictures of README from the demo (needs chromium)
	$(BIN)/python -m tests.browser.pictures

test-kafka: $(VENV)/dev.stamp ## the broker tests on Apache Kafka itself (needs Java 17 and Maven)
	$(PYTEST) -m "kafka and not chaos" --kafka=apache $(ARGS)

chaos: $(VENV)/dev.stamp ## kill -9, stopped servers, rebalances (CHAOS_ROUNDS=1000 for a campaign)
	$(PYTEST) -m chaos $(ARGS)
	@test $(SEEDS) -eq 0 || $(PYTEST) tests/property/test_payout_search.py --seeds $(SEEDS)

bench: $(VENV)/dev.stamp ## measure; prints a table and writes JSON to bench-results/
	$(BIN)/python -m tests.benchmarks $(ARGS)

lint: $(VENV)/dev.stamp ## ruff, formatting, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## let ruff format and sort
	$(BIN)/ruff check --fix-only --select I .
	$(BIN)/ruff format .

types: $(VENV)/dev.stamp ## mypy, strict
	$(BIN)/mypy

schemas: $(VENV)/dev.stamp ## write the published schemas anew (JSON Schema, AsyncAPI, OpenAPI)
	$(BIN)/python -m schemas.published $(ARGS)
	$(BIN)/python -m web.published $(ARGS)

# dev is the widest set, so it is resolved first and the others follow its versions: what is tested is what runs.
UV := .cache/uv/bin/uv
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" $(ARGS)
lock: $(UV) ## resolve requirements/*.txt from pyproject.toml (ARGS=--upgrade takes newer versions)
	$(COMPILE) pyproject.toml --extra embedded --extra dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra embedded -c requirements/dev.txt -o requirements/embedded.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(COMPILE) requirements/build.in -c requirements/dev.txt -o requirements/build.txt

# uv only resolves the locks; installing is plain pip's.
$(UV):
	$(need_python)$(PYTHON) -m venv --clear .cache/uv
	.cache/uv/bin/python -m pip install --disable-pip-version-check --quiet 'uv==0.13.*'

env: ## write .env for docker compose, with fresh secrets
	@$(need_python)test ! -e .env || { echo ".env exists: its secrets belong to the data volumes, so it is never overwritten."; exit 1; }
	@umask 077 && $(PYTHON) -c 'import base64, secrets, uuid; \
	print("POSTGRES_PASSWORD=" + secrets.token_hex(24)); \
	print("LEDGER_HASH_KEY=" + secrets.token_hex(32)); \
	print("PAYOUT_DETAILS_KEYS=" + "one:" + base64.b64encode(secrets.token_bytes(32)).decode()); \
	print("KAFKA_CLUSTER_ID=" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_"))' > .env
	@echo "wrote .env (mode 600): keep a copy of it with the backups"

clean: ## remove .venv and caches (never the data folder)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment: brought up to date only when a lock or pyproject.toml changed ---------------------------

$(VENV)/embedded.stamp $(VENV)/dev.stamp: $(VENV)/%.stamp: requirements/%.txt requirements/build.txt pyproject.toml
	@$(if $(shell $(BIN)/python $(NEW_ENOUGH) 2>/dev/null && echo yes),:,$(need_python)$(PYTHON) -m venv --clear $(VENV)) || { \
		echo "$(PYTHON) cannot create a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing requirements/$*.txt into $(VENV) (about a minute the first time)"
	@$(PIP) install --require-hashes -r requirements/build.txt -r requirements/$*.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
