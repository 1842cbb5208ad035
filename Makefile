# Everything runs in .venv, which is made when it is first needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test test-long test-browser test-gpu test-lowest package check docs figures examples format mutants robustness audit audit-if-possible bench bench-3d quality ablation table1 table3d clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -E '^[a-z0-9.%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/installed  ## Make the environment in .venv

# PyTorch first: on a machine without an NVIDIA GPU its CPU build, which the plain name does not give on Linux.
# uv knows where the builds for each kind of machine are; it is asked if pip's own indexes have no CPU build.
.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -c "import torch" 2>/dev/null \
	|| { ! command -v nvidia-smi >/dev/null && $(BIN)/python -m pip install --quiet "torch==2.13.0+cpu" 2>/dev/null; } \
	|| { $(BIN)/python -m pip install --quiet "uv>=0.8" && $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend=auto "torch>=2.6"; }
	$(BIN)/python -m pip install --quiet --editable ".[dev,mri,dicom,cluster,serve,onnx,monai]"
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

demo: .venv/installed  ## The paper's synthetic experiment with a report, ten to twenty minutes on two cores
	$(BIN)/vagan demo demo

# A file's tests stay in one process, with what they share; each process has one thread. More than eight want much memory.
PARALLEL := --numprocesses logical --maxprocesses 8 --dist loadfile

test: .venv/installed  ## Tests that take minutes, on all cores
	PYTHONWARNDEFAULTENCODING=1 $(BIN)/python -m pytest $(PARALLEL)

test-long: .venv/installed .venv/installed-docs  ## Tests that take longer
	$(BIN)/python -m pip install --quiet --editable ".[wandb,mlflow]"
	$(BIN)/python -m pytest -m long

test-browser: .venv/installed  ## Tests of the report and of the local page in a headless Chromium
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| { apt-get update -qq && apt-get install -y -qq chromium; }
	$(BIN)/python -m pip install --quiet --editable ".[browser]"
	$(BIN)/python -m pytest -m browser

test-gpu: .venv/installed  ## Tests of what an NVIDIA GPU computes, a minute
	$(BIN)/python -m pytest -m gpu

# uv finds the interpreter, or brings it. Where it can reach PyTorch's own index, UV_TORCH_BACKEND=cpu spares the build for GPUs.
define tests_with  # interpreter, extras, options of uv, options of pytest
	$(BIN)/uv venv --quiet --clear --python $(1) .venv-other
	$(BIN)/uv pip install --quiet --python .venv-other $(3) --editable ".[$(2)]"
	.venv-other/bin/python -m pytest $(PARALLEL) $(4)
endef

EXTRAS := dev,mri,dicom,cluster,serve
NEWER := ,onnx,monai

# Old releases warn of what has been mended since: here alone such warnings are no errors. Without the extras onnx and
# monai, whose tests are then left out: they ask for a newer PyTorch.
test-lowest: .venv/installed  ## The tests with the oldest versions that pyproject.toml admits
	$(call tests_with,3.11,$(EXTRAS),--resolution lowest-direct,-W default::DeprecationWarning)

test-3.%: .venv/installed  ## The tests with another Python: test-3.12, test-3.13
	$(call tests_with,3.$*,$(EXTRAS)$(NEWER))

package: .venv/installed  ## Build wheel and source archive, and try them in an environment of their own
	$(BIN)/python -m pytest -m long tests/test_package.py

check: .venv/installed  ## Formatting, lint, types, import directions, the Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

docs: .venv/installed-docs  ## Build the documents to site/index.html, a minute; a broken link or reference is an error
	$(BIN)/python -m sphinx -E -W --keep-going -q -c docs -d build/doctrees . site
	$(BIN)/python docs/offline.py site

figures: .venv/installed  ## Draw the figures of the documents anew, seconds
	$(BIN)/python docs/figures/draw.py

examples: .venv/installed-docs  ## Execute the example notebooks anew, minutes
	$(BIN)/python examples/execute.py

format: .venv/installed  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

mutants: .venv/installed  ## Faults put into the mathematics, of which the tests must find nearly all, half an hour
	$(BIN)/python benchmarks/mutants.py

bench: .venv/installed  ## Measure speed, and registration; half an hour; results go to benchmarks/results
	$(BIN)/python benchmarks/update_time.py
	$(BIN)/python benchmarks/host_share.py
	$(BIN)/python benchmarks/preprocessing.py
	$(BIN)/python benchmarks/measured.py

bench-3d: .venv/installed  ## Memory and time on volumes of 64x80x56 and 128x160x112, and of simulating them, an hour
	$(BIN)/python benchmarks/volumes.py
	$(BIN)/python benchmarks/simulation.py
	$(BIN)/python benchmarks/measured.py

quality: .venv/installed  ## Maps on the paper's data and on variants of it with three seeds, hours on two cores
	$(BIN)/python benchmarks/quality.py --cases paper fixed few
	$(BIN)/python benchmarks/quality.py --name robustness --cases 96x80 faint discs sites
	$(BIN)/python benchmarks/measured.py

ablation: .venv/installed  ## What each ingredient of the fast preset is worth, images of half the size, three seeds, an hour
	$(BIN)/python benchmarks/ablation.py --size 56 56

table1: .venv/installed  ## The paper's Table 1 and Figure 4 with three seeds, hours on two cores
	$(BIN)/python benchmarks/table1.py
	$(BIN)/python benchmarks/measured.py

table3d: .venv/installed  ## All methods on simulated atrophy, two seeds, hours on two cores
	$(BIN)/python benchmarks/table3d.py
	$(BIN)/python benchmarks/measured.py

robustness: .venv/installed  ## Kills, full disks, mutated files, long runs; an hour; writes docs/explanation/robustness.md
	PYTHONPATH=tests:benchmarks $(BIN)/python -m robustness

audit: .venv/installed  ## Known holes in the packages that are installed; needs a network
	$(BIN)/python -m pip install --quiet "pip-audit>=2.7"
	$(BIN)/python .ci/audit.py

audit-if-possible: .venv/installed  ## The same where there is a network, else a word that there is none
	$(BIN)/python -m pip install --quiet "pip-audit>=2.7"
	$(BIN)/python .ci/audit.py --if-possible

clean:  ## Remove the environment and what the demo made
	rm -rf .venv .venv-other mutants demo site build jupyter_execute
