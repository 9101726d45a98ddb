# Datong in a small image: pinned and hashed packages, no compiler, no root. All state is in /var/lib/datong; the rest of
# the file system may be read-only.
FROM python:3.11-slim AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock ./
RUN python -m venv /opt/datong && /opt/datong/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY transforms transforms
COPY config config
COPY sinks sinks
COPY cdc cdc
RUN /opt/datong/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/datong --create-home --shell /usr/sbin/nologin datong
COPY --from=build /opt/datong /opt/datong
ENV PATH=/opt/datong/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DATONG_CONFIG=/etc/datong/datong.yaml
USER 10001:10001
WORKDIR /var/lib/datong
VOLUME /var/lib/datong
EXPOSE 8080
# Alive, not ready: a channel that is halted waits for a person, and a restart would not mend it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=3)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["datong"]
CMD ["run"]
