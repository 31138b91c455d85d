# make train   set up .venv and run the main job on the embedded digits, offline once installed
# make test    set up .venv and run linters, type checker and the whole test suite, in some 20 minutes on two cores
# make fast    set up .venv and run the quick tests, which train nothing, in less than a minute
# make package build the wheel and the sdist, check them, write a bill of materials (CycloneDX) beside them, and try the
#              wheel in an environment of its own: train, export, verify, in some five minutes; with another Python:
#              make package PYTHON=python3.12
# make sign    sign the wheel, the sdist and the bill in dist/ with an OpenPGP key: make sign KEY=somebody@example.org
# make audit   ask PyPI whether a pinned version has a known weakness; needs the internet
# make docs    set up .venv and build the guide and the reference: build/docs/index.html
# make android set up .venv, and build and test the Kotlin library in export/android: its AAR lies then in
#              export/android/envise-android/target; needs Maven and a JDK from 17 on

PYTHON ?= python3
BIN = .venv/bin
# The package as it is installed, export and tuning inside of it: the type checker looks for it as one folder.
TYPED = .venv/typed/envise_tf
PACKAGE = build/package

.PHONY: train test fast lint docs package sign audit android typed

train: .venv/installed
	$(BIN)/python -m envise_tf.train --preset digits

test: lint
	$(BIN)/python -m pytest -rfEs

fast: .venv/installed
	$(BIN)/python -m pytest -m 'not slow'

lint: .venv/installed typed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(dir $(TYPED)) $(BIN)/mypy

docs: .venv/documented typed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# pip reports licences by their SPDX expression from version 25 on.
package:
	rm -rf dist $(PACKAGE) && mkdir -p $(PACKAGE)
	$(PYTHON) -m venv $(PACKAGE)/tools
	$(PACKAGE)/tools/bin/python -m pip install --quiet --constraint constraints.txt --upgrade 'pip>=25' build twine 'cyclonedx-python-lib[json-validation]'
	$(PACKAGE)/tools/bin/python -m build --outdir dist .
	$(PACKAGE)/tools/bin/python -m twine check --strict dist/*
	$(PYTHON) -m venv $(PACKAGE)/installed
	$(PACKAGE)/tools/bin/python -m pip --python $(PACKAGE)/installed/bin/python install --quiet --constraint constraints.txt --report $(PACKAGE)/report.json dist/*.whl
	$(PACKAGE)/tools/bin/python benchmarks/bill_of_materials.py $(PACKAGE)/report.json dist/*.whl
	cd $(PACKAGE) && installed/bin/envise train --preset digits --windows 1 --out run
	cd $(PACKAGE) && installed/bin/envise export run --out bundle && installed/bin/envise export.verify bundle

sign:
	@[ -n '$(KEY)' ] || { echo 'error: no key given: expected make sign KEY=somebody@example.org, an OpenPGP key of yours' >&2; exit 2; }
	for file in dist/*.whl dist/*.tar.gz dist/*.cdx.json; do \
	    gpg --batch --yes --armor --local-user '$(KEY)' --detach-sign "$$file" || exit; done

# --strict: what PyPI did not answer about is no package without a weakness.
audit:
	rm -rf $(PACKAGE)/audit && $(PYTHON) -m venv $(PACKAGE)/audit
	$(PACKAGE)/audit/bin/python -m pip install --quiet pip-audit
	$(PACKAGE)/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

# Bundles are written by Python, then Maven builds, tests and packs; what make test skips without Maven fails here.
android: .venv/installed
	ENVISE_ANDROID=required $(BIN)/python -m pytest -n 0 tests/export/test_android.py

typed:
	rm -rf $(TYPED) && mkdir -p $(TYPED) && ln -s $(CURDIR)/envise_tf/* $(CURDIR)/export $(CURDIR)/tuning $(TYPED)

# Installs this package with $(EXTRAS). uv takes a quarter of pip's time, but knows no pip.conf: where it finds nothing, pip goes on.
# Not compiled: Python does that for what is imported, which is little of all that is installed.
ASKED = --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
INSTALL = $(BIN)/uv pip install --python $(BIN)/python $(ASKED) || $(BIN)/python -m pip install --no-compile $(ASKED)

.venv/installed: EXTRAS = beam,dev
.venv/installed: setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(INSTALL)
	touch $@

.venv/documented: EXTRAS = docs
.venv/documented: .venv/installed
	$(INSTALL)
	touch $@
