# One image for every role: `docker run gatewatch worker --role detect --config /etc/gatewatch/gatewatch.yaml`
FROM python:3.12.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src ./src
COPY detectors ./detectors
RUN pip install --no-cache-dir hatchling==1.27.0 \
 && python -m hatchling build -t wheel -d /wheels
RUN python -m venv /opt/gatewatch \
 && /opt/gatewatch/bin/pip install --no-cache-dir "$(echo /wheels/*.whl)[librdkafka]"

FROM python:3.12.11-slim-bookworm
# A user of its own, without a shell; compiled kernels are all that it ever writes.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin gatewatch \
 && install -d -o gatewatch -g gatewatch /var/cache/gatewatch
COPY --from=build /opt/gatewatch /opt/gatewatch
ENV PATH=/opt/gatewatch/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/var/cache
USER 10001
EXPOSE 9108
# Alive: the loop has turned within the last minute. Kernels are compiled before the first turn, hence the start period.
HEALTHCHECK --interval=10s --timeout=4s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9108/healthz', timeout=3)"]
ENTRYPOINT ["gatewatch"]
CMD ["worker", "--config", "/etc/gatewatch/gatewatch.yaml"]
