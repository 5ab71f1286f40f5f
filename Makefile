# Every target works on a fresh checkout: the first one makes .venv. Needs python3 >= 3.11 and make.
#   PYTHON    interpreter that makes .venv              make test PYTHON=python3.13
#   PIP_ARGS  more arguments for pip, such as an index  make train PIP_ARGS="--extra-index-url URL"
#   ARGS      arguments for the command                 make train ARGS="env.game=breakout"
PYTHON ?= python3
PIP_ARGS ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help train smoke tensorboard test test-slow lint type format constraints clean

help:
	@echo "make train        DQN with DeepMind's RMSprop on Pong until it plays well;"
	@echo "                  ARGS=\"env.game=breakout\" trains another game with the laptop's setting"
	@echo "make smoke        CartPole to its solved score"
	@echo "make tensorboard  TensorBoard over runs/ on localhost"
	@echo "make test         lint, types and the fast test suite: what CI runs"
	@echo "make test-slow    the slow and the learning tests: what CI runs at night"
	@echo "make lint type    ruff and import-linter; mypy --strict"
	@echo "make format       ruff format and ruff's safe fixes"
	@echo "make constraints  constraints.txt from the versions in .venv"
	@echo "make clean        removes .venv, caches and builds; leaves runs/ alone"

# The stamp is written last: an installation that was interrupted starts again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else "Python 3.11 or newer is needed, $(PYTHON) is %d.%d: use make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@

# Pong's experiment ends at Pong's score: another game or experiment takes its own.
train: $(INSTALLED)
	$(BIN)/dqn-train $(strip $(if $(filter experiment=% env=% env.game=%,$(ARGS)),,experiment=pong) $(ARGS))

smoke: $(INSTALLED)
	$(BIN)/dqn-train experiment=cartpole $(ARGS)

tensorboard: $(INSTALLED)
	$(BIN)/tensorboard --host localhost --logdir runs $(ARGS)

# Two processes of one thread each: OpenMP threads of two processes on two cores slow each other.
test: lint type
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow and not learning" $(ARGS)

test-slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "slow or learning" $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(INSTALLED)
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The build of torch (CPU or some CUDA) is the machine's matter: its label and CUDA's wheels drop out.
# The heavy extras that "dev" leaves out are installed first, to have tested versions too.
constraints: $(INSTALLED)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[dev,optuna,ray]"
	{ grep '^#' constraints.txt; \
	  $(BIN)/python -m pip freeze --all --exclude-editable --exclude pip \
	    | sed -E '/^(cuda|nvidia)-|^triton==/d; s/\+[a-z0-9.]+$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
