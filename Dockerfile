# Fluidity-DA on Debian 13, without Fluidity. docs/cluster.md says how to build it, also for Apptainer, and how to run it.
#
# The lines up to `make setup` were carried out by buildah, with a BASE made by debootstrap (minbase, trixie). For a small
# image, without the CUDA libraries of torch:
#   --build-arg TORCH="torch==2.13.0+cpu --extra-index-url https://download.pytorch.org/whl/cpu"
ARG BASE=docker.io/library/debian:trixie-slim
FROM ${BASE}
ARG TORCH=torch==2.13.0

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends make ca-certificates

# make setup installs Debian's Open MPI, PETSc and parallel HDF5, and makes .venv; it is not repeated where only examples change
WORKDIR /opt/fluidity-da
COPY Makefile pyproject.toml meson.build README.md LICENSE ./
COPY plugin plugin
COPY coupling coupling
COPY da da
COPY models models
RUN make setup TORCH="${TORCH}" \
 && rm -rf /var/lib/apt/lists/* /root/.cache build
COPY examples examples

# Containers often run as root and on fewer cores than ranks; the second is said to Open MPI 4 and to Open MPI 5
ENV PATH=/opt/fluidity-da/.venv/bin:$PATH \
    OMP_NUM_THREADS=1 \
    OMPI_ALLOW_RUN_AS_ROOT=1 \
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
    OMPI_MCA_rmaps_base_oversubscribe=1 \
    PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe

WORKDIR /work
CMD ["python", "-m", "plugin.cycle", "--help"]
