# Everything runs in .venv, which is created when it is first needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test test-long test-browser test-gpu test-lowest package check docs figures examples format mutants robustness audit audit-if-possible bench bench-3d quality real rivals ablation table1 table3d gpu-table3d clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -E '^[a-z0-9.%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/installed  ## Create the environment in .venv

# PyTorch first: without an NVIDIA GPU its CPU build, which is not the default on Linux. uv finds the build for the
# machine where pip's index has no CPU build.
.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -c "import torch" 2>/dev/null \
	|| { ! command -v nvidia-smi >/dev/null && $(BIN)/python -m pip install --quiet "torch==2.13.0+cpu" 2>/dev/null; } \
	|| { $(BIN)/python -m pip install --quiet "uv>=0.13" && $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend=auto "torch>=2.10"; }
	$(BIN)/python -m pip install --quiet --editable ".[dev,mri,dicom,cluster,serve,onnx,monai]"
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

demo: .venv/installed  ## Run the paper's synthetic experiment with a report: 5 to 6 minutes on two cores with bfloat16 instructions, 11 without
	$(BIN)/vagan demo demo

# Tests of one file run in one process and share fixtures; each process has one thread. More than eight need much memory.
PARALLEL := --numprocesses logical --maxprocesses 8 --dist loadfile

test: .venv/installed  ## Run the tests on all cores, minutes
	PYTHONWARNDEFAULTENCODING=1 $(BIN)/python -m pytest $(PARALLEL)

test-long: .venv/installed .venv/installed-docs  ## Run the tests that take longer
	$(BIN)/python -m pip install --quiet --editable ".[conformance]"
	$(BIN)/python -m pytest -m long
	PYTHONPATH=tests:benchmarks $(BIN)/python -m robustness --share 0.05

test-browser: .venv/installed  ## Run the tests of the report and the local page in headless Chromium
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| { apt-get update -qq && apt-get install -y -qq chromium; }
	$(BIN)/python -m pip install --quiet --editable ".[browser]"
	$(BIN)/python -m pytest -m browser

test-gpu: .venv/installed  ## Run the tests that need an NVIDIA GPU, a minute
	$(BIN)/python -m pytest -m gpu

# uv finds or installs the interpreter. With access to PyTorch's index, UV_TORCH_BACKEND=cpu avoids the build for GPUs.
define tests_with  # interpreter, extras, options of uv, options of pytest
	$(BIN)/uv venv --quiet --clear --python $(1) .venv-other
	$(BIN)/uv pip install --quiet --python .venv-other $(3) --editable ".[$(2)]"
	.venv-other/bin/python -m pytest $(PARALLEL) $(4)
endef

EXTRAS := dev,mri,dicom,cluster,serve
NEWER := ,onnx,monai

# Old releases raise deprecation warnings, which are errors elsewhere. The extras onnx and monai need a newer PyTorch.
test-lowest: .venv/installed  ## Run the tests with the oldest versions that pyproject.toml allows
	$(call tests_with,3.11,$(EXTRAS),--resolution lowest-direct,-W default::DeprecationWarning)

test-3.%: .venv/installed  ## Run the tests with another Python: test-3.12, test-3.13
	$(call tests_with,3.$*,$(EXTRAS)$(NEWER))

package: .venv/installed  ## Build the wheel and source archive, and test them in a new environment
	$(BIN)/python -m pytest -m long tests/test_package.py

check: .venv/installed  ## Check formatting, lint, types, import contracts and the Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

docs: .venv/installed-docs  ## Build the documentation in site/; broken links and references are errors
	$(BIN)/python -m sphinx -E -W --keep-going -q -c docs -d build/doctrees . site
	$(BIN)/python docs/offline.py site

figures: .venv/installed  ## Redraw the figures of the documentation, seconds
	$(BIN)/python docs/figures/draw.py

examples: .venv/installed-docs  ## Re-execute the example notebooks, minutes
	$(BIN)/python examples/execute.py

format: .venv/installed  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

mutants: .venv/installed  ## Mutation testing of the mathematics, half an hour
	$(BIN)/python benchmarks/mutants.py

bench: .venv/installed  ## Measure speed and registration, half an hour; writes benchmarks/results
	$(BIN)/python benchmarks/update_time.py
	$(BIN)/python benchmarks/host_share.py
	$(BIN)/python benchmarks/preprocessing.py
	$(BIN)/python benchmarks/measured.py

bench-3d: .venv/installed  ## Measure memory and time on volumes of 64x80x56 and 128x160x112, an hour
	$(BIN)/python benchmarks/volumes.py
	$(BIN)/python benchmarks/simulation.py
	$(BIN)/python benchmarks/measured.py

quality: .venv/installed  ## Evaluate maps on the paper's data and variants of it, three seeds, hours on two cores
	$(BIN)/python benchmarks/quality.py --cases paper fixed few
	$(BIN)/python benchmarks/quality.py --name robustness --cases 96x80 faint discs sites
	$(BIN)/python benchmarks/measured.py

real: .venv/installed  ## Evaluate maps of real pictures, three seeds; needs Debian's package dataset-fashion-mnist
	$(BIN)/python -m pip install --quiet --editable ".[benchmarks]"
	$(BIN)/python benchmarks/real.py

rivals: .venv/installed  ## Compare VA-GAN with image translation, classifiers and diffusion on real pictures, three seeds, two hours
	$(BIN)/python -m pip install --quiet --editable ".[benchmarks]"
	$(BIN)/python benchmarks/rivals.py

ablation: .venv/installed  ## Ablation of the fast preset on images of half the size, three seeds, an hour
	$(BIN)/python benchmarks/ablation.py --size 56 56

table1: .venv/installed  ## Reproduce the paper's Table 1 and Figure 4, three seeds, hours on two cores
	$(BIN)/python benchmarks/table1.py
	$(BIN)/python benchmarks/measured.py

table3d: .venv/installed  ## Compare all methods on simulated atrophy, two seeds, hours on two cores
	$(BIN)/python benchmarks/table3d.py
	$(BIN)/python benchmarks/measured.py

gpu-table3d: .venv/installed  ## The same for deforming generators on an NVIDIA GPU, with a long schedule, within nine minutes
	$(BIN)/python benchmarks/gpu_table3d.py

robustness: .venv/installed  ## Kills, full disks, mutated files, long runs; an hour
	PYTHONPATH=tests:benchmarks $(BIN)/python -m robustness

audit: .venv/installed  ## Report known vulnerabilities of the installed packages; needs a network
	$(BIN)/python -m pip install --quiet "pip-audit>=2.7"
	$(BIN)/python .ci/audit.py

audit-if-possible: .venv/installed  ## The same, but without a network it only says "not audited"
	$(BIN)/python -m pip install --quiet "pip-audit>=2.7"
	$(BIN)/python .ci/audit.py --if-possible

clean:  ## Remove the environments and generated folders
	rm -rf .venv .venv-other mutants demo site build jupyter_execute
