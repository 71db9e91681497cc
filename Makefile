# Thin names for the commands of the README. PYTHON is the interpreter that makes the virtual environment (3.10 or later).
# On Linux, pip takes PyTorch with CUDA from the package index; to have the smaller CPU build,
# set PIP_EXTRA_INDEX_URL to the address of PyTorch's CPU wheels.

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/demo
# Mutants of `make mutate`, such as MUTANTS='lm_eval.perplexity.*'; none: all.
MUTANTS ?=
# Options of the benchmarks, such as BENCH="--run runs/ptb --threads 2".
BENCH ?=
# Where `make gpu` leaves its results, and the interpreter that it and `make bench-gpu` take: one whose torch knows CUDA.
GPU_OUT ?= gpu-results
GPU_PYTHON ?= $(BIN)/python
# Processes that run tests, and the tests of `make quick`: those of parts, not those of whole commands.
JOBS ?= auto
QUICK := tests/lebm_text/generation tests/lebm_text/inference tests/lebm_text/models tests/lebm_text/samplers \
	tests/lebm_text/text tests/lm_eval/test_kneser_ney.py tests/lm_eval/test_perplexity.py tests/test_imports.py

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SAMPLES := $(RUN)/samples/demo.txt

.DEFAULT_GOAL := help
.PHONY: help demo test quick mutate lint docs dist-check bench bench-gpu gpu clean

help:
	@echo "make demo    install into $(VENV), train on the King James text, show ten generated sentences"
	@echo "make test    install with the development tools, run the tests"
	@echo "make quick   the fast tests alone, under a minute"
	@echo "make mutate  change the code of the reported figures in small ways, list the changes that no test notices (hours)"
	@echo "make lint    check style and types"
	@echo "make docs    the documentation as a site, in site/ (Python 3.11 or later); a broken link is an error"
	@echo "make dist-check  build wheel and source archive in dist/, run the tutorial with the wheel in a fresh environment"
	@echo "make bench   speed, memory and exactness against a plain model, one table (several minutes, idle machine)"
	@echo "make bench-gpu  the same on a CUDA device (five minutes at most)"
	@echo "make gpu     tests and benchmark on a CUDA device, nine minutes at most, results in $(GPU_OUT)"
	@echo "make clean   remove $(VENV), site and caches; runs stay"

$(VENV)/python.stamp:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "lebm-text needs Python 3.10 or later; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/demo.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "installing into $(VENV): some minutes, and a gigabyte or more (PyTorch)"
	$(INSTALL) --editable '.[kjv,viz]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	$(INSTALL) --editable '.[analysis,app,dev,embed,hf,kjv,tensorboard,viz]'
	@touch $@

$(VENV)/docs.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	$(INSTALL) --editable '.[docs]'
	@touch $@

demo: $(VENV)/demo.stamp
	@if [ -e $(RUN)/config.json ]; then \
		$(BIN)/lebm-text train --resume --out $(RUN); \
	else \
		$(BIN)/lebm-text train kjv --preset demo --out $(RUN); \
	fi
	@$(BIN)/lebm-text generate -n 1000 --temperature 0.8 --run $(RUN) -o $(SAMPLES)
	@echo
	@echo "Ten of the 1000 sentences:"
	@echo
	@head -n 10 $(SAMPLES)
	@echo
	@echo "All of them:    $(SAMPLES)"
	@echo "The whole run:  $(RUN) (weights, configuration, metrics, checkpoints)"
	@echo "More:           source $(BIN)/activate, then lebm-text generate, lebm-text report, lebm-text --help"

# One thread for each of several processes: threads that wait for each other slow all of them down. The tests of a file
# stay in one of them, so that what they share is made once.
test: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu" -n $(JOBS) --dist loadscope

quick: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu and not slow" -n $(JOBS) --dist worksteal -q $(QUICK)

mutate: $(VENV)/dev.stamp
	$(INSTALL) --editable '.[mutate]'
	OMP_NUM_THREADS=1 $(BIN)/mutmut run $(MUTANTS)
	$(BIN)/mutmut results

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Not --quiet, which keeps warnings from --strict.
docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site/index.html"

# The wheel is made of the source archive, and stands in an environment that has the dependencies of $(VENV) but not its
# lebm-text; the tests are those of the archive, whose own packages are taken away.
dist-check: $(VENV)/dev.stamp
	rm -rf dist
	$(INSTALL) --editable '.[dist]'
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	mkdir dist/source && tar -xzf dist/*.tar.gz -C dist/source --strip-components 1
	rm -r dist/source/lebm_text dist/source/lm_eval
	$(BIN)/python -m venv dist/venv
	dist/venv/bin/python -m pip install --quiet --no-deps dist/*.whl
	packages='import sysconfig; print(sysconfig.get_path("purelib"))'; $(BIN)/python -c "$$packages" \
		> "$$(dist/venv/bin/python -c "$$packages")/dependencies.pth"
	cd dist/source && OMP_NUM_THREADS=1 ../venv/bin/python -m pytest -q -p no:cacheprovider tests/test_tutorial.py \
		tests/test_examples.py tests/lm_eval/test_without_torch.py

bench: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/table.py $(BENCH)

bench-gpu:
	$(GPU_PYTHON) benchmarks/gpu.py $(BENCH)

# A failed test does not keep the benchmark from running; the last line says whether one failed. Only files with tests
# for a GPU are collected: reading all others takes a good part of the minutes, and may need packages that are not there.
# That of the benchmark, the longest, comes last. When time is up pytest is interrupted, so that it shows what failed.
gpu:
	@mkdir -p $(GPU_OUT)
	@export PYTHONUNBUFFERED=1; \
		timeout --signal=INT --kill-after=20 200 $(GPU_PYTHON) -m pytest -v -o faulthandler_timeout=90 -m gpu \
		$$(grep -rl --include='test_*.py' 'mark\.gpu' tests | sort -r) \
		> $(GPU_OUT)/tests.txt 2>&1; \
		status=$$?; tail -n 3 $(GPU_OUT)/tests.txt; \
		timeout --signal=INT --kill-after=20 330 $(GPU_PYTHON) benchmarks/gpu.py --seconds 250 --output $(GPU_OUT)/benchmark.json $(BENCH) \
			> $(GPU_OUT)/benchmark.txt 2>&1 || status=$$?; \
		cat $(GPU_OUT)/benchmark.txt; exit $$status

clean:
	rm -rf $(VENV) dist site mutants .mypy_cache .pytest_cache .ruff_cache .hypothesis
