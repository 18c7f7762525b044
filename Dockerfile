# syntax=docker/dockerfile:1
# The image of the sidecar: a virtual environment on a slim Python, run by nobody, able to run on a read-only root.

FROM python:3.13-slim AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
RUN ["python", "-m", "venv", "/opt/venv"]
WORKDIR /source
COPY pyproject.toml constraints-dev.txt README.md LICENSE ./
COPY mcp_sidecar ./mcp_sidecar
# The versions the project is tested with. Extras (otel, kubernetes) are a choice of whoever builds.
ARG EXTRAS=""
RUN /opt/venv/bin/python -m pip install --no-compile -c constraints-dev.txt ".${EXTRAS:+[$EXTRAS]}"
# Bytecode is made here, because on a read-only root every start would compile again; and it is never compared with its
# source, because neither changes: start-up is part of a pod's start-up. pip has done its work: the fewer programs the better.
RUN /opt/venv/bin/python -m pip uninstall --yes pip \
 && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

FROM python:3.13-slim
LABEL org.opencontainers.image.title="mcp-sidecar" \
      org.opencontainers.image.description="A sidecar proxy for the Model Context Protocol" \
      org.opencontainers.image.licenses="Apache-2.0"
# GRPC_*: read when grpc is imported. Its own log lines are not our JSON, and we never fork.
# PATH: a preStop hook says `mcp-sidecar drain`.
ENV PATH=/opt/venv/bin:$PATH \
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
ENTRYPOINT ["/opt/venv/bin/python", "-m", "mcp_sidecar"]
CMD ["serve"]
