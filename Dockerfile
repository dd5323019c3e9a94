# The image of every process: `serve` (the default), `worker`, `signer`, `db upgrade`.
#
#   docker build --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" --build-arg REVISION="$(git rev-parse HEAD)" -t portcullis:0.1.0 .
#
# Pin the base by digest where you build: --build-arg PYTHON_IMAGE=python:3.11.14-slim-trixie@sha256:… (the digest your registry shows).
# Packages come from whatever registry pip and uv are set up for; hand a mirror's settings over as build secrets, which stay out of
# every layer: --secret id=pip,src=pip.conf --secret id=uv,src=uv.toml
ARG PYTHON_IMAGE=python:3.11.14-slim-trixie

# ---- tools: pip's successor and the build backend, pinned by hash ----------------------------------------------------
FROM ${PYTHON_IMAGE} AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /build
COPY requirements/bootstrap.txt requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m venv /build/venv \
    && /build/venv/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/bootstrap.txt

# ---- models: fetched by pinned hash and converted, as `make models` does ---------------------------------------------
FROM tools AS models
COPY requirements/setup.txt requirements/
RUN --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    /build/venv/bin/uv pip install --quiet --python /build/venv/bin/python --require-hashes --only-binary :all: -r requirements/setup.txt
COPY pyproject.toml README.md ./
COPY app app
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /build/venv/bin/uv pip install --quiet --offline --python /build/venv/bin/python --no-deps --no-build-isolation -e . \
    && /build/venv/bin/portcullis models

# ---- server: what the last stage takes over, whole -------------------------------------------------------------------
FROM tools AS server
ARG SOURCE_DATE_EPOCH=315532800
COPY requirements/server.txt requirements/
RUN --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    python -m venv --without-pip /opt/portcullis/venv \
    && /build/venv/bin/uv pip install --quiet --python /opt/portcullis/venv/bin/python --require-hashes --only-binary :all: -r requirements/server.txt
COPY pyproject.toml README.md ./
COPY app app
# The wheel goes beside policies/, migrations/ and models/, where the settings look for them; one line of a .pth file puts it on the path,
# also for the parser processes, which start with an empty environment.
RUN SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH}" /build/venv/bin/python -m hatchling build --target wheel --directory /build/dist \
    && /build/venv/bin/python -m pip --python /opt/portcullis/venv/bin/python install --quiet --no-index --no-deps --no-compile \
       --target /opt/portcullis /build/dist/*.whl \
    && echo /opt/portcullis > "$(/opt/portcullis/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/portcullis.pth"
COPY migrations /opt/portcullis/migrations
COPY policies /opt/portcullis/policies
COPY --from=models /build/models /opt/portcullis/models
# One list of trusted authorities, the system's: a company's own is mounted over it (docs/operations/install.md). Compiled files carry no
# times; every file gets the time of the source.
RUN ln -sf /etc/ssl/certs/ca-certificates.crt "$(/opt/portcullis/venv/bin/python -c 'import certifi; print(certifi.where())')" \
    && find /opt/portcullis -name __pycache__ -prune -exec rm -rf {} + \
    && /opt/portcullis/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/portcullis \
    && chmod -R a+rX,go-w /opt/portcullis \
    && find /opt/portcullis -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

# ---- gateway: no installer, no compiler, no cache, no way to write but /data and /tmp --------------------------------
FROM ${PYTHON_IMAGE} AS gateway
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Portcullis" \
      org.opencontainers.image.description="A governed knowledge gateway: cited answers from documents a person may read, each one on a tamper-evident record." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN rm -rf /usr/local/lib/python3.*/site-packages/* /usr/local/lib/python3.*/ensurepip /usr/local/bin/pip* \
    && echo 'portcullis:x:10001:' >> /etc/group \
    && echo 'portcullis:x:10001:10001::/data:/usr/sbin/nologin' >> /etc/passwd \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data /data/signer
COPY --from=server /opt/portcullis /opt/portcullis
# The runtime of the models reports to its maker unless it is told not to.
ENV ORT_DISABLE_TELEMETRY=1 \
    PATH=/opt/portcullis/bin:/opt/portcullis/venv/bin:/usr/local/bin:/usr/bin:/bin \
    LC_ALL=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PORTCULLIS_DATA=/data \
    PORTCULLIS_HOST=0.0.0.0 \
    PORTCULLIS_PORT=8080
WORKDIR /opt/portcullis
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["/opt/portcullis/venv/bin/python", "-I", "-c", "import http.client, os, sys; one = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORTCULLIS_PORT', '8080')), timeout=2); one.request('GET', '/healthz'); sys.exit(one.getresponse().status != 200)"]
ENTRYPOINT ["/opt/portcullis/bin/portcullis"]
CMD ["serve"]
