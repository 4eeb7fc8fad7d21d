# `make help` lists what can be done. Only make and Python are needed (and git
# for `make lint`).
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# One thread: sums are taken in the same order on every machine, and so the
# figures that are printed after `=` are the same on every machine.
export OMP_NUM_THREADS ?= 1
# Each package is compiled once, when it is first imported: the tests start
# dozens of processes, and without this every one would compile them again.
export PYTHONDONTWRITEBYTECODE :=
PYTEST_ARGS ?=
# Processes that share the tests; the chapters go to one, the rest to others.
JOBS ?= 2

.PHONY: help setup book serve test notebooks lint format bench mutants \
	rounding results repository clean

help: ## list these commands
	@grep -E '^[a-z-]+:.*## ' Makefile | \
		sed -E 's/^([a-z-]+):.*## (.*)/  make \1@\2/' | \
		awk -F@ '{printf "%-20s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install everything (PY=python3.12 chooses)

$(STAMP): pyproject.toml constraints.txt
	@python=$$(tools/find_python.sh $(PY)) || exit 1; \
		if ! $(PYTHON) -c 'import pip' >/dev/null 2>&1; then \
			echo "Making $(VENV) with $$python"; \
			"$$python" -m venv --clear $(VENV) || exit 1; \
		fi
	@echo "Installing the pinned packages (a few minutes the first time)"
	@$(PIP) setuptools wheel
	@$(PIP) --quiet --no-build-isolation --editable '.[book,test]'
	@$(PIP) --no-deps d2l joeynmt
	@touch $@

book: $(STAMP) ## build the website in _build/html, warnings as errors
	@$(PYTHON) -m tools.mathjax
	@$(PYTHON) -m tools.pictures
	@$(PYTHON) $(VENV)/bin/jupyter-book build . --all -W -n --keep-going --quiet
	@$(PYTHON) -m tools.site _build/html
	@echo "The book is built. Open _build/html/index.html in a browser, or: make serve"

serve: $(STAMP) ## serve the built website on a free port
	@$(PYTHON) -m tools.serve

test: $(STAMP) ## run every test: library, chapters, form, website (JOBS=4)
	@$(PYTHON) -m pytest --nbval --nbval-sanitize-with=tests/sanitize.cfg \
		--nbval-cell-timeout=600 --numprocesses=$(JOBS) \
		--no-loadscope-reorder $(PYTEST_ARGS)

notebooks: $(STAMP) ## execute the chapters again, in place (CHAPTER=03 for one)
	@$(PYTHON) -m tools.notebooks $(CHAPTER)

lint: $(STAMP) ## formatting, lint and the other quick checks
	@$(PYTHON) -m pre_commit run --all-files

format: $(STAMP) ## let ruff format and mend what it can
	@$(PYTHON) -m ruff check --fix --quiet . ; $(PYTHON) -m ruff format --quiet .

bench: $(STAMP) ## measure the library beside its peers (hours; new tables)
	@$(PYTHON) -m benchmarks

mutants: $(STAMP) ## break the library on purpose; all must be caught (hours)
	@$(PYTHON) -m tests.mutants

# PyTorch has vector code for several kinds of processors, and so has oneDNN,
# which makes the large products of matrices; each kind rounds in its own way.
# (Small products come from a third library, and stay.) Nothing trained before
# may stand in for a training.
rounding: $(STAMP) ## run the chapters as other processors round (an hour or more)
	@for kind in avx2:AVX2 default:SSE41; do \
		cache=$$(mktemp -d) || exit 1; \
		export ATEN_CPU_CAPABILITY=$${kind%:*} ONEDNN_MAX_CPU_ISA=$${kind#*:}; \
		echo "Rounding as with $$ATEN_CPU_CAPABILITY, $$ONEDNN_MAX_CPU_ISA"; \
		S2S_CACHE_DIR=$$cache \
			$(MAKE) --no-print-directory test PYTEST_ARGS=chapters; \
		failed=$$?; rm -r "$$cache"; [ $$failed = 0 ] || exit 1; \
	done

results: $(STAMP) ## list the commands that reproduce the files in results/
	@$(PYTHON) -m tools.results

repository: $(STAMP) ## write the address of the published repository: URL=...
	@$(PYTHON) -m tools.repository "$(URL)"

clean: ## remove what was built (keeps .venv and the cached trainings)
	rm -rf _build _generated _vendor build .pytest_cache .ruff_cache *.egg-info
