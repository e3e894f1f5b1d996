# make demo    set everything up and run the twin experiment of examples/street
# make test    set everything up, check types and style, and run all tests
# make lint    only types and style: ruff and mypy
# make setup   only set up: system packages (as root on Debian), .venv, the project
#
# On a cluster: python3 -m venv, your own PETSc/MPI/HDF5 modules, pip install . (README, "Installing").

SHELL := /bin/bash
VENV := .venv
SYSTEM_PYTHON := /usr/bin/python3
PYTHON := $(VENV)/bin/python

# MPI with its compiler wrappers, PETSc and parallel HDF5, and the Python bindings built on them; OpenGL without a screen,
# for the pictures of a report
PACKAGES := python3-venv python3-dev build-essential openmpi-bin libopenmpi-dev python3-petsc4py python3-h5py python3-h5py-mpi
PACKAGES += libegl1 libgl1-mesa-dri
# Debian's bindings are borrowed into the environment, so that pip builds no second PETSc
BORROWED := petsc4py h5py
# The CPU build suffices; a cluster chooses its own. PyPI's for Linux brings gigabytes of CUDA along, without it:
#   make setup TORCH="torch==2.13.0+cpu --extra-index-url https://download.pytorch.org/whl/cpu"
TORCH := torch==2.13.0
# Debian keeps petsc4py by PETSc's version and finds it by a link that only PETSc's -dev package makes
PETSC_HOMES := $$(echo /usr/lib/petscdir/*/*-real/lib/python3/dist-packages | tr ' ' :)

# Test files run side by side, one for each core up to eight: most tests need one, some start two to four ranks.
# nproc would count the threads that a program may use, and those are one
WORKERS := $$(n=$$(env -u OMP_NUM_THREADS nproc); echo $$((n < 8 ? n : 8)))

export OMP_NUM_THREADS := 1
# Open MPI refuses root and more ranks than cores otherwise; both are usual on a laptop or in CI
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
# more ranks than cores: Open MPI 4, and Open MPI 5, whose mpirun is PRRTE's
export OMPI_MCA_rmaps_base_oversubscribe := 1
export PRTE_MCA_rmaps_default_mapping_policy := :oversubscribe

.PHONY: setup lint test demo clean
setup: $(VENV)/installed

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: lint $(VENV)/browser $(VENV)/openfoam
	$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile

demo: setup
	$(PYTHON) -m examples.street.demo

clean:
	rm -rf $(VENV) build

$(VENV)/installed: pyproject.toml meson.build Makefile
	@missing=""; \
	for p in $(PACKAGES); do dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q 'install ok' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	    echo "Missing system packages:$$missing"; \
	    echo "Ask for 'apt-get install$$missing', or see README, 'Installing', for your own MPI and PETSc."; exit 1; \
	  fi; \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
	fi
	$(SYSTEM_PYTHON) -m venv $(VENV)
	@site=$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || exit 1; \
	for name in $(BORROWED); do \
	  from=$$(PYTHONPATH=$(PETSC_HOMES) $(SYSTEM_PYTHON) -c "import importlib.util as u, os; print(os.path.dirname(u.find_spec('$$name').origin))") || exit 1; \
	  ln -sfn "$$from" "$$site/$$name"; \
	  for info in "$$(dirname "$$from")"/$$name*-info; do \
	    version=$$(sed -n 's/^Version: //p' "$$info"/METADATA "$$info"/PKG-INFO "$$info" 2>/dev/null | head -1); \
	    mkdir -p "$$site/$$name-$$version.dist-info"; \
	    printf 'Metadata-Version: 2.1\nName: %s\nVersion: %s\n' $$name $$version > "$$site/$$name-$$version.dist-info/METADATA"; \
	    echo "system packages" > "$$site/$$name-$$version.dist-info/INSTALLER"; \
	  done; \
	done
	$(PYTHON) -m pip install -q --upgrade pip
# Debian's petsc4py is built for Debian's numpy, and takes no later major version
	numpy=$$($(SYSTEM_PYTHON) -c 'import numpy; print(int(numpy.__version__.split(".")[0]) + 1)') || exit 1; \
	$(PYTHON) -m pip install -q "numpy<$$numpy" $(TORCH) '.[test]'
	$(PYTHON) -c "from petsc4py import PETSc; from mpi4py import MPI; import h5py, vtk"
	touch $@

# For the tests of the report's page; where it cannot be had they are skipped, and say so
$(VENV)/browser: $(VENV)/installed
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium; } \
	  || echo "No Chromium: the page of a report is not tried in a browser."
	touch $@

# For the tests with a real OpenFOAM, 67 MB to load; where it cannot be had they are skipped, and say so
$(VENV)/openfoam: $(VENV)/installed
	@command -v pimpleFoam >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends openfoam; } \
	  || echo "No OpenFOAM: its driver is not tried with it."
	touch $@
