# What people do with a checkout. CONTRIBUTING.md explains; `make run` and `make test` are where to start.

BIN := .venv/bin
# Where `make run` keeps everything; an installed OpenRaaS uses /var/lib/openraas.
STATE := $(or $(OPENRAAS_STATE_DIR),$(CURDIR)/.state)
BENCHMARKS := $(patsubst tests/benchmarks/bench_%.py,bench-%,$(sort $(wildcard tests/benchmarks/bench_*.py)))

.DEFAULT_GOAL := run
POT := master/translations/messages.pot

.PHONY: run setup setup-tests test test-all lint format lock translations bench screenshots clean $(BENCHMARKS)

# Bring up the whole platform, start a sample application and open its page.
run: setup
	@OPENRAAS_STATE_DIR="$(STATE)" $(BIN)/openraas up --demo

# Install what is missing: Debian packages (as root) and Python ones into .venv.
setup:
	@./scripts/bootstrap.sh

# The same, and the clients that the tests drive.
setup-tests:
	@./scripts/bootstrap.sh --tests

# The ten-minute core: style, types, and all tests but the long ones.
test: setup-tests lint
	@$(BIN)/python -m pytest -m "not long" $(ARGS)

test-all: setup-tests lint
	@$(BIN)/python -m pytest $(ARGS)

lint: setup
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Each prints BENCH lines with ratios and ends with 1 if a case falls short.
$(BENCHMARKS): bench-%: setup
	@$(BIN)/python -m tests.benchmarks.bench_$* $(ARGS)

bench: $(BENCHMARKS)

# Make a picture of every page, light, dark and on a phone, to be looked at in build/screenshots; docs/images keeps a few.
PICTURES := applications-light launch-light deployment-running-light deployment-running-dark queue-light images-light share-light box-1280
screenshots: setup-tests
	@mkdir -p build/screenshots
	@OPENRAAS_SCREENSHOTS="$(CURDIR)/build/screenshots" $(BIN)/python -m pytest -q tests/browser/test_pages.py \
	    tests/browser/test_boxes.py -k "use_every_page or fits_a_phone or looked_at"
	@for name in $(PICTURES); do cp build/screenshots/$$name.png docs/images/; done

# Choose the newest versions that pyproject.toml allows, with hashes, for every platform.
lock: setup
	@uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --upgrade --quiet --output-file requirements.lock

# Collect what pages say into the translations; then translate what is empty in the .po files, and run it again.
translations: setup
	@$(BIN)/pybabel -q extract --mapping-file babel.cfg --keyword _l --keyword lazy_gettext --sort-output --no-location --no-wrap --project OpenRaaS \
	    --msgid-bugs-address=- --output-file $(POT) .
	@$(BIN)/pybabel -q update --input-file $(POT) --output-dir master/translations --no-fuzzy-matching \
	    --ignore-obsolete --ignore-pot-creation-date --no-wrap
	@$(BIN)/python hatch_build.py

# Never crosses into a mounted file system: what is mounted there is somebody's files.
clean:
	@rm -rf --one-file-system .venv .state .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist \
	    workers/gateway/static/packages
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
