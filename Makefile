# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. Each sets up what it needs by itself.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
BIN := $(VENV)/bin
BUILD := build
C_FILES := $(shell find firmware -name '*.[ch]')

.DEFAULT_GOAL := help
.PHONY: help setup system demo fleet-demo test test-long lint format bench bench-models
.PHONY: bench-unseen bench-zoo bench-kernels tune size fuzz clean

help: ## Show this list.
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready system ## Install everything: virtual environment, compilers, emulators.

system:
	@scripts/system-packages

# torch first: with it in place nothing else asks the package index for a CUDA build.
$(VENV)/.ready: pyproject.toml scripts/virtual-environment
	@scripts/virtual-environment "$(PYTHON)" "$(VENV)"
	@touch $@

demo: setup ## Compile a trained image model to Cortex-M4 firmware, verify it, and show the report.
	@$(MAKE) --no-print-directory $(BUILD)/demo/report.json
	$(BIN)/tinyml report $(BUILD)/demo
	$(BIN)/tinyml run $(BUILD)/demo --on qemu
	@echo "Open $(BUILD)/demo/report.html for layers, memory over time and histograms."

# Compiled and verified again only when the compiler or the firmware has changed.
$(BUILD)/demo/report.json: $(shell find tinyml firmware -type f -not -name '*.pyc')
	$(BIN)/tinyml export zoo:tinynet-mnist --target cortex-m4 --out $(BUILD)/demo > /dev/null

fleet-demo: setup ## A fleet on this machine: broker, server, 20 devices, 2 boards, rollouts, a bad model.
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python examples/fleet/run.py

test: setup ## Run the tests (minutes).
	@scripts/system-packages --optional
	$(BIN)/python -m pytest -n auto

test-long: setup ## Run the long tests too.
	@scripts/system-packages --optional
	$(BIN)/python -m pytest -n auto -m "long or not long"

lint: setup ## Check style, types and C warnings.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	scripts/c-warnings

format: setup ## Rewrite sources in the project's style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

bench: bench-models bench-kernels ## All benchmarks.

bench-kernels: setup ## Instructions of every kernel on every core against its limit; writes bench/kernels.*.
	$(BIN)/python bench/kernels.py --out bench/kernels

tune: setup ## Measure the costs by which kernels are chosen; writes tinyml/kernels/costs/.
	$(BIN)/python bench/tune.py --out tinyml/kernels/costs

bench-models: setup ## Instructions, RAM and flash of models on every target; writes bench/models.*.
	$(BIN)/python bench/models.py --out bench/models

bench-unseen: setup ## Networks converted by TensorFlow, compiled and compared; extra keras; writes bench/unseen.md.
	$(BIN)/python bench/unseen.py --out bench/unseen

bench-zoo: setup ## Quality and cost of the zoo's models, as `tinyml zoo list` shows them.
	$(BIN)/python bench/zoo.py

size: setup ## Print what each part of the device agent takes on a Cortex-M4; fails when over budget.
	$(BIN)/python bench/agent_size.py

FUZZ_SECONDS ?= 240
fuzz: setup ## Fuzz the device agent's C parsers (3 harnesses of FUZZ_SECONDS each; needs clang).
	PYTHON=$(BIN)/python scripts/fuzz "$$($(BIN)/python -c 'from fleet.devices import fetch_crypto; print(fetch_crypto(with_hashes=False))')" $(BUILD)/fuzz $(FUZZ_SECONDS)

clean: ## Remove what was built; keeps the virtual environment.
	rm -rf $(BUILD) .pytest_cache .mypy_cache .ruff_cache .hypothesis
