# make demo: the two engines side by side.  make test: the everyday tests.  Everything happens inside .venv.

PYTHON ?= python3
BIN := .venv/bin
# pytest-xdist: the tests share the library's cache on disk, and two processes build it as fast as one. Who has nothing
# left to do takes tests from the other: those of guests lie beside each other, and take minutes
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: setup test test-slow conformance lint bench guests images pictures demo debian-packages clean

setup: .venv/installed-all

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "bt needs Python 3.11 or later: make PYTHON=/path/to/python3 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || tests/install-debian.sh python3-venv
	$(PYTHON) -m venv .venv

# without what only tests need
.venv/installed: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/installed-all: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,bench]'
	@touch $@ .venv/installed

demo: .venv/installed
	@$(BIN)/python -m benchmarks.demo

test: .venv/installed-all debian-packages
	$(PYTEST) -m "not slow"

test-slow: .venv/installed-all debian-packages
	$(PYTEST) -m slow

# all three, whatever the first says
# instructions recorded on hardware, a line for each opcode
conformance: .venv/installed-all
	$(BIN)/python -m tests.vectors.report

lint: .venv/installed-all
	@status=0; for check in "ruff check ." "ruff format --check ." mypy; do \
		echo "$$check"; $(BIN)/$$check || status=1; done; exit $$status

bench: .venv/installed-all
	mkdir -p report
	$(BIN)/bt bench --peers all --json report/bench.json --html report/bench.html

# third-party guests and what disks are made of, out of Debian packages
guests: .venv/installed
	$(BIN)/python -m guest_images.fetch

# the built-in guests, from their sources
images: .venv/installed-all
	$(BIN)/python -m guest_images.build

# the pictures in README.md
pictures: .venv/installed-all
	$(BIN)/python -m tests.guests.pictures

# QEMU, Bochs and gcc -m32, which some tests compare with; those tests skip where they are missing
debian-packages:
	@tests/install-debian.sh

clean:
	rm -rf .venv build dist report *.egg-info
