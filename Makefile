# make train   set up .venv and run the main job on the embedded digits, offline once installed
# make test    set up .venv and run linters, type checker and the whole test suite

PYTHON ?= python3
BIN = .venv/bin

.PHONY: train test lint

train: .venv/installed
	$(BIN)/python -m envise_tf.train --preset digits

test: lint
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
