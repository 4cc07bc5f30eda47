# syntax=docker/dockerfile:1
# One image for every process: migrate, worker, projector, web (docker-compose.yml says which).

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The locked packages come first: they change far less often than our code, so their layer is kept. All are wheels, but for
# faust-streaming on arm64, which builds (without its C extensions) from its source package: no compiler is needed.
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv --without-pip /opt/ledger \
 && pip --python /opt/ledger/bin/python install --require-hashes -r requirements/runtime.txt \
 && pip install --require-hashes -r requirements/build.txt

COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && pip --python /opt/ledger/bin/python install --no-deps /tmp/wheel/*.whl


FROM python:3.13-slim
LABEL org.opencontainers.image.title="Commission Ledger" \
      org.opencontainers.image.licenses="Apache-2.0"
# A fixed number, so that the owner of mounted files can be told beforehand; no shell, no home.
RUN groupadd --system --gid 10001 ledger \
 && useradd --system --uid 10001 --gid ledger --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ledger
COPY --from=build /opt/ledger /opt/ledger
ENV PATH=/opt/ledger/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1
WORKDIR /tmp
USER ledger
EXPOSE 8000
ENTRYPOINT ["commission-ledger"]
CMD ["--help"]
