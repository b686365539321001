# The image of every adaptwin process: `adaptwin operator run` unless told otherwise.
#
#   docker build -t adaptwin:0.1.0 .
#
# Any Python from 3.11 on with `venv` and `pip` will do as a base. pip takes its index from its own configuration.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
RUN python3 -m venv --without-pip /opt/adaptwin \
    && python3 -m venv /opt/build

# What is locked, before what changes with every commit.
COPY requirements.lock ./
RUN /opt/build/bin/pip --python /opt/adaptwin/bin/python install --require-hashes --requirement requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY twin twin
COPY predictor predictor
COPY operator operator
RUN /opt/build/bin/pip wheel --no-deps --wheel-dir /wheel . \
    && /opt/build/bin/pip --python /opt/adaptwin/bin/python install --no-deps --no-index /wheel/*.whl

# Bytecode and numba's cache both hold the sources' times of change. Those are set to one whole second, for layers
# keep no fractions of it, and to always the same one, so that the same sources give the same files. A plan compiles
# all that plans need, for any processor of the architecture, and shows that the installation works; so does a run of
# S-LoRA, the other engine.
ARG SOURCE_DATE_EPOCH=1767225600
ENV NUMBA_CACHE_DIR=/opt/adaptwin/numba \
    NUMBA_CPU_NAME=generic
COPY examples/qwen-2.5-7b-minimal.yaml ./
RUN find /opt/adaptwin -name '*.py' -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} + \
    && /opt/adaptwin/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/adaptwin/lib \
    && cd / \
    && /opt/adaptwin/bin/adaptwin plan -f /src/qwen-2.5-7b-minimal.yaml --seeds 1 --horizon 5m \
    && /opt/adaptwin/bin/adaptwin twin run --profile llama-2-7b-slora-h100-64gb --adapters 1 --ranks 32 --duration 60


FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="adaptwin" \
      org.opencontainers.image.description="Plans, verifies and operates the serving of hundreds of LoRA adapters on vLLM." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/adaptwin /opt/adaptwin
COPY docker/entrypoint.sh /usr/local/bin/adaptwin-entrypoint

# USER: libraries that ask for the user's name look here first, and the user has no other name.
# PYTHONSAFEPATH: a folder named like a standard module, such as operator/, hides nothing wherever this is started.
ENV HOME=/tmp \
    NUMBA_CACHE_DIR=/tmp/numba \
    NUMBA_CPU_NAME=generic \
    PATH=/opt/adaptwin/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    USER=adaptwin
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/usr/local/bin/adaptwin-entrypoint"]
CMD ["operator", "run", "--all-namespaces"]
