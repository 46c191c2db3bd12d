# The wheel and what it needs, then the same without the tools that made them.
# Every package comes from a file with hashes; `make lock` writes those files.
ARG PYTHON=python:3.13.9-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
WORKDIR /src
COPY requirements-build.txt requirements-runtime.txt ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.txt \
    && python -m venv /opt/driftsentry \
    && /opt/driftsentry/bin/pip install --require-hashes -r requirements-runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY detectors detectors
COPY streams streams
RUN /opt/build/bin/hatchling build -t wheel -d /dist \
    && /opt/driftsentry/bin/pip install --no-deps --no-index /dist/*.whl \
    && /opt/driftsentry/bin/python -m pip uninstall --yes pip

FROM ${PYTHON}
# PYTHONSAFEPATH: the packages are called streams, schemas and detectors, and a folder of one of
# these names in the working directory must not be imported in their place.
ENV PATH=/opt/driftsentry/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CPU_NAME=generic \
    NUMBA_CACHE_DIR=/var/cache/driftsentry
RUN useradd --system --uid 10001 --create-home driftsentry \
    && install -d -o driftsentry -g driftsentry "$NUMBA_CACHE_DIR"
COPY --from=build /opt/driftsentry /opt/driftsentry
USER driftsentry
WORKDIR /home/driftsentry
# Compile the kernels now, so that no worker spends its first half minute on it. Numba wants to be
# able to write to this directory even when it only reads: keep it writable.
RUN python -m detectors.warm
ENTRYPOINT ["driftsentry"]
CMD ["--help"]
