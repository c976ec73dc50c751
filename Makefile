# convometer: every target sets up what it needs. `make` alone lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run kafka browser prometheus test test-long check grafana format lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/runtime.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'convometer needs Python 3.11 or newer; set PYTHON=/path/to/python3'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing the locked dependencies into $(VENV) (about a minute)' >&2
	@$(PIP_INSTALL) --require-hashes -r requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/runtime.stamp requirements-dev.lock
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

run: $(VENV)/runtime.stamp ## start everything on this machine, with demo traffic
	@$(BIN)/convometer run --demo --data $(DATA)

kafka: $(VENV)/runtime.stamp ## start one Kafka broker on 127.0.0.1:9092 to try things out (needs Java and Maven)
	@exec $(BIN)/python -m tests.support.kafka_broker $(DATA)/kafka

check: $(VENV)/dev.stamp ## formatting, lint, types, import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The browser tests drive Chromium from the system. Where it cannot be installed they are skipped, and say so.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null \
		|| { command -v apt-get >/dev/null && test "$$(id -u)" = 0 \
			&& echo 'installing Chromium for the browser tests' >&2 && apt-get update -qq \
			&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
		|| echo 'no Chromium, so that the browser tests will be skipped; install it, as with: apt-get install chromium' >&2

# The rules are tried by Prometheus's own tool, and one test runs both servers. Where they cannot be installed those tests
# are skipped, and say so.
prometheus:
	@command -v promtool >/dev/null && command -v amtool >/dev/null \
		|| { command -v apt-get >/dev/null && test "$$(id -u)" = 0 \
			&& echo 'installing Prometheus and Alertmanager for the tests of the alerts' >&2 \
			&& tests/support/install_prometheus.sh; } \
		|| echo 'no Prometheus, so that tests of the alerts will be skipped; install it, as with: apt-get install prometheus prometheus-alertmanager' >&2

test: check browser prometheus ## all checks and tests (less than 30 minutes)
	$(BIN)/pytest -n 2 -m 'not long'

test-long: check browser prometheus ## everything, with the long property and crash runs (hours)
	CONVOMETER_TEST_HISTORIES=10000 CONVOMETER_TEST_KILLS=500 $(BIN)/pytest -n 2

grafana: $(VENV)/dev.stamp ## make Grafana's dashboards and alert rules again from deploy/grafana/*.py
	$(BIN)/python -m deploy.grafana.generate

format: $(VENV)/dev.stamp ## format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate -q

lock: ## renew both lock files (needs uv on the PATH)
	$(LOCK) --extra dev --extra build --upgrade -o requirements-dev.lock
	$(LOCK) --extra build -c requirements-dev.lock -o requirements.lock

clean: ## remove the virtual environment and caches; leaves the data directory alone
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
