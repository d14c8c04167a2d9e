# make demo   a log of the repository becomes a dataset, through the real sidecar
# make test   everything, from nothing; JOBS=0 runs the tests one after the other
# Needs Python 3.11 or later, a C compiler and make.  PYTHON=python3.12 chooses another interpreter.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
NATIVE := $(wildcard hephaes_native/*.pyx hephaes_native/*.pxd hephaes_native/*.h)
STUBS := $(patsubst hephaes_native/%.pyx,hephaes_native.%,$(wildcard hephaes_native/*.pyx))
PYTEST_ARGS ?=
JOBS ?= 3
ROUNDS ?= 3
export BENCH_WORK ?= bench-work

.PHONY: demo test lint sanitize fuzz crash soak native bench compare compare-drafts clean

demo: $(VENV)/.installed
	$(BIN)/python -m hephaes_rpc demo

# Compiled beforehand, for the sake of the hundreds of processes that the tests start where Python may write no bytecode.
test: $(VENV)/.installed-test
	$(BIN)/python -m compileall -q hephaes_rpc tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --allowlist tests/stubtest-allow.txt --ignore-unused-allowlist $(STUBS)
	PATH=$(BIN):$$PATH cython-lint --max-line-length 120 $(filter %.pyx %.pxd,$(NATIVE))
	$(BIN)/lint-imports

# What is recorded and generated: the examples, docs/openrpc.json, docs/protocol.md, the TypeScript client.
docs: $(VENV)/.installed-test
	$(BIN)/python -m tools.record_examples
	$(BIN)/python -m tools.protocol_docs
	$(BIN)/python clients/typescript/generate.py

sanitize: $(VENV)/.installed-dev
	$(BIN)/python tests/sanitize.py

# Hostile bytes for a reader or the decoders, with sanitizers; needs clang.  TARGET=bag|mcap|db3|decode MINUTES=30.
fuzz: $(VENV)/.installed-test
	$(call extra,fuzz)
	$(BIN)/python -m fuzz.run $(or $(TARGET),mcap) --minutes $(or $(MINUTES),30)

# SIGKILL at random moments of a conversion; KILLS=100 SEED=7.
crash: $(VENV)/.installed-test
	$(BIN)/python tests/crash_harness.py $(or $(KILLS),100) $(SEED)

# Random requests from the OpenRPC document; MINUTES=10 SEED=5.
soak: $(VENV)/.installed-test
	$(BIN)/python tests/soak.py $(or $(MINUTES),10) $(SEED)

native: $(VENV)/.installed-dev
	$(BIN)/python build.py

# make bench GROUPS="machine kernels" measures these only; ROUNDS=1 is for a first look.
bench: $(VENV)/.installed-test
	benchmarks/setup.sh
	$(BIN)/python benchmarks/run.py --rounds $(ROUNDS) $(GROUPS)

# The reference engine and this one on the same logs and specs, value by value.  CASES="robot.bag parquet" compares those
# that have these words in their name; WRITE=1 brings docs/reference-differences.md up to date.
compare: $(VENV)/.installed-test
	$(BIN)/python -m tests.compare $(CASES) $(if $(WRITE),--write)

# What both draft for the same logs; WRITE=1 brings docs/draft-differences.md up to date.
compare-drafts: $(VENV)/.installed-test
	$(BIN)/python -m tests.compare.drafts $(if $(WRITE),--write)

clean:
	rm -rf build dist $(VENV) hephaes_rpc.egg-info demo-out
	rm -f hephaes_native/*.c hephaes_native/*.so

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else "hephaes-rpc needs Python 3.11 or later; $(PYTHON) is %d.%d. Say make PYTHON=python3.12, for example." % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Installs the packages of an extra without building the project once more.
define extra
$(BIN)/python -c 'import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]], sep="\n")' $(1) > $(VENV)/$(1).txt && $(PIP) install -r $(VENV)/$(1).txt
endef

# An editable install builds the extension beside its sources.
$(VENV)/.installed: $(VENV)/.made pyproject.toml build.py $(NATIVE)
	$(PIP) install --editable .
	@touch $@

# TensorFlow reads the TFRecord outputs back; where it has no wheel those tests are skipped, and said to be.
$(VENV)/.installed-test: $(VENV)/.installed
	$(call extra,test)
	@$(call extra,tensorflow) || echo "TensorFlow could not be installed: the tests that read with it are skipped" >&2
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(call extra,dev)
	@touch $@
