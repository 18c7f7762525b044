# syntax=docker/dockerfile:1
# The image of the sidecar: a virtual environment on a slim Python, run by nobody, able to run on a read-only root.
# It is made of the wheels in dist/wheels (hack/wheels.sh) and nothing else: `make image`, or
#
#     hack/wheels.sh amd64 && docker build --network none -t mcp-sidecar .
#
# The last stage is the one place that says how the image is laid out (hack/image_layout.py reads it).

FROM python:3.13-slim AS builder
ARG TARGETARCH=amd64
RUN ["python", "-m", "venv", "/opt/venv"]
RUN --mount=type=bind,source=dist/wheels,target=/wheels \
    /opt/venv/bin/python -m pip install --disable-pip-version-check --no-cache-dir --no-index --no-compile \
        --find-links "/wheels/${TARGETARCH}" "mcp-sidecar[kubernetes,otel]"
COPY hack/prune_image.py /prune_image.py
# Bytecode is made here, because on a read-only root every start would compile again; and it is never compared with its
# source, because neither changes: start-up is part of a pod's start-up.
RUN /opt/venv/bin/python /prune_image.py /opt/venv \
 && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib \
 && /opt/venv/bin/mcp-sidecar check

FROM python:3.13-slim
LABEL org.opencontainers.image.title="mcp-sidecar" \
      org.opencontainers.image.description="A sidecar proxy for the Model Context Protocol" \
      org.opencontainers.image.licenses="Apache-2.0"
# GRPC_*: read when grpc is imported. Its own log lines are not our JSON, and we never fork.
# PATH: a preStop hook says `mcp-sidecar drain`.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GRPC_VERBOSITY=NONE \
    GRPC_ENABLE_FORK_SUPPORT=0
COPY --from=builder /opt/venv /opt/venv
# The Python image comes without the bytecode of the standard library.
RUN ["python", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", \
     "-x", "/(site-packages|idlelib|ensurepip)/", "/usr/local/lib"]
# A number, so that a kubelet with runAsNonRoot can see that it is not root.
USER 65532:65532
WORKDIR /
EXPOSE 15051 15080 15081 15090
# Exec form: the sidecar is process 1, no shell stands between it and SIGTERM.
ENTRYPOINT ["mcp-sidecar"]
CMD ["serve"]
