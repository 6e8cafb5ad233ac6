# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# Every target prepares by itself what it needs, from python3 and make on. See CONTRIBUTING.md.

PYTHON ?= python3
SUITES := lint unit docs galaxy sanity terraform molecule integration
NAME ?= dev
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help setup test $(SUITES) faults lab lab-down bench demo demo-down clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Prepare the tool environments (.venv, build/venv-*) and the collection link
	@$(PYTHON) -m tests.ci.setup tools core219

test: ## Run every suite to the end and print a summary
	@$(PYTHON) -m tests.ci.run

lint: ## ruff, mypy, yamllint, shellcheck, reuse, ansible-lint
unit: ## Unit tests on ansible-core 2.21, 2.19 and (inventory) 2.18, tests of the sample application
docs: ## Documentation of plugins and roles, changelog, commands of the README
galaxy: ## Build the tarball, import it as Galaxy does, install it
sanity: ## ansible-test sanity, all tests
terraform: ## Tests of the Terraform code
molecule: ## Every role and the playbook on fresh hosts
integration: ## The whole in the lab: restarts, secrets, open ports, bad input
$(SUITES):
	@$(PYTHON) -m tests.ci.run $@

faults: ## The whole fault matrix (make test runs a part), and the table in docs/benchmarks.md
	@FAULTS=all $(PYTHON) -m tests.ci.run faults
	@.venv/bin/python -m tests.faults.table

lab: setup ## Start a lab to play with (NAME=dev)
	@.venv/bin/python -m tests.lab --name $(NAME) up

lab-down: setup ## Remove that lab (NAME=dev)
	@.venv/bin/python -m tests.lab --name $(NAME) down

bench: setup ## Measure what is promised under load, into build/bench and docs/benchmarks.md (half an hour)
	@.venv/bin/python -m tests.bench
	@.venv/bin/python -m pytest -q tests/bootstrap/test_lab.py
	@.venv/bin/python -m tests.bench.table

demo: ## Terraform, inventory, playbook: a served invoice on a lab host
	@$(PYTHON) -m tests.ci.setup tools
	@.venv/bin/python -m tests.demo up

demo-down: setup ## Remove the demo and everything that it made
	@.venv/bin/python -m tests.demo down

clean: ## Remove what was built (labs must be down)
	rm -rf .venv .ansible build .mypy_cache .pytest_cache .ruff_cache
