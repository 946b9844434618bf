# One image for every service; the command chooses: interface, ml-service, batch-processor, train.
# Two targets: the default has training and the pickle baseline in it; `--target slim` serves ONNX
# models only. Builds for amd64 and arm64, with BuildKit and with the classic builder.
ARG PYTHON_IMAGE=python:3.12.8-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages-slim
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# hadolint ignore=DL3008
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/* && python3 -m venv /opt/aimq
WORKDIR /src
# The pinned packages come first: this layer is built again only when a version changes.
COPY requirements/slim.lock requirements/slim.lock
RUN /opt/aimq/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements/slim.lock

FROM packages-slim AS packages
COPY requirements/deploy.lock requirements/deploy.lock
RUN /opt/aimq/bin/python -m pip install --quiet --require-hashes -r requirements/deploy.lock

FROM packages-slim AS build-slim
COPY pyproject.toml README.md LICENSE ./
COPY deploy/trim deploy/trim
COPY aimq aimq
COPY interface interface
COPY batch_processor batch_processor
COPY ml_service ml_service
COPY etl etl
# pip is not needed once everything is installed.
RUN /opt/aimq/bin/python -m pip install --quiet --no-deps --no-build-isolation . \
    && deploy/trim /opt/aimq/lib/python3*/site-packages \
    && rm -rf /opt/aimq/bin/pip* /opt/aimq/lib/python3*/site-packages/pip /opt/aimq/lib/python3*/site-packages/pip-*

FROM packages AS build
COPY --from=build-slim /src ./
RUN /opt/aimq/bin/python -m pip install --quiet --no-deps --no-build-isolation . \
    && deploy/trim /opt/aimq/lib/python3*/site-packages \
    && rm -rf /opt/aimq/bin/pip* /opt/aimq/lib/python3*/site-packages/pip /opt/aimq/lib/python3*/site-packages/pip-*

FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="AIMQ" \
      org.opencontainers.image.description="Scores spreadsheets and records with machine-learning models over a message queue" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# Models and data are volumes; the rest of the file system may be read-only. The base's own pip goes
# too: nothing is installed into a running container.
RUN groupadd --gid 10001 aimq \
    && useradd --uid 10001 --gid aimq --no-create-home --shell /usr/sbin/nologin aimq \
    && mkdir -p /data /models && chown aimq:aimq /data /models \
    && rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip
ENV PATH=/opt/aimq/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    AIMQ_DATA_DIR=/data AIMQ_MODELS_DIR=/models \
    AIMQ_INTERFACE_HOST=0.0.0.0 AIMQ_ML_HOST=0.0.0.0 AIMQ_METRICS_HOST=0.0.0.0 \
    AIMQ_ENVIRONMENT=production
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080 5001 9102
STOPSIGNAL SIGTERM
ENTRYPOINT ["aimq"]
CMD ["--help"]

FROM runtime AS slim
COPY --from=build-slim /opt/aimq /opt/aimq

FROM runtime
COPY --from=build /opt/aimq /opt/aimq
