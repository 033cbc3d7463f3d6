# make demo   pretrain a tiny FNet on the embedded corpus and look at it; at most 10 minutes on 2 cores
# make test   the tests, on 2 cores
# make test-quick   a part of them in about a minute: config, files, transforms, one step, structure
# make test-beam   tests that need Apache Beam, in an environment of their own
# make test-bridge   tests against transformers, in an environment of their own
# make test-onnx   tests that need jax2onnx and ONNX Runtime, in an environment of their own
# make drill  kill a small run 100 times and check that nothing is lost; about 20 minutes on 2 cores
# make check  lint and types
# make lock   pin requirements*.txt anew from requirements*.in

PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/demo
CONFIG ?= configs/pretrain.py:size=tiny
BIN = $(VENV)/bin
QUICK = tests/core tests/runtime tests/tasks/files tests/nn/test_transforms.py tests/nn/test_losses.py \
	tests/train/test_step.py tests/test_structure.py

.PHONY: demo test test-quick test-beam test-bridge test-onnx drill check lock
.DELETE_ON_ERROR:

demo: $(VENV)/.runtime
	$(BIN)/python train.py --config=$(CONFIG) --workdir=$(WORKDIR)
	$(BIN)/python eval.py --workdir=$(WORKDIR)
	$(BIN)/python -m fnet_jax.tools.predict fill-mask --model=$(WORKDIR) --held_out=5
	$(BIN)/python -m fnet_jax.tools.report --workdir=$(WORKDIR)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-quick: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal $(QUICK)

test-beam: $(VENV)-beam/.stamp
	$(VENV)-beam/bin/python -m pytest tests/data/corpus/test_beam.py

test-bridge: $(VENV)-bridge/.stamp
	$(VENV)-bridge/bin/python -m pytest tests/bridge

test-onnx: $(VENV)-onnx/.stamp
	$(VENV)-onnx/bin/python -m pytest tests/bridge/test_onnx.py

drill: $(VENV)/.runtime
	$(BIN)/python -m fnet_jax.tools.drill $(DRILL)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: $(VENV)/.dev
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-find-links requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-find-links requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-find-links --extra beam pyproject.toml requirements-beam.in -o requirements-beam.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-find-links pyproject.toml requirements-bridge.in -o requirements-bridge.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-find-links --override requirements.in requirements-onnx.in -o requirements-onnx.txt

# The environment is remade when its requirements change. A stamp file says what is installed.
$(VENV)/.runtime: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fnet_jax needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)-beam/.stamp: requirements-beam.txt
	$(PYTHON) -m venv $(VENV)-beam
	$(VENV)-beam/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-beam.txt
	touch $@

$(VENV)-bridge/.stamp: requirements-bridge.txt
	$(PYTHON) -m venv $(VENV)-bridge
	$(VENV)-bridge/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bridge.txt
	touch $@

# --no-deps: the file is complete, and jax2onnx would refuse our Orbax.
$(VENV)-onnx/.stamp: requirements-onnx.txt
	$(PYTHON) -m venv $(VENV)-onnx
	$(VENV)-onnx/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-onnx.txt
	touch $@
