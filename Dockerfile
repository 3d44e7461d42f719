FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY telemetry telemetry
RUN /venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[config]'

FROM python:3.13-slim
COPY --from=build /venv /venv
COPY app /srv/app
WORKDIR /srv
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# The files may come from a clone under umask 077.
RUN useradd --system --no-create-home app && chmod -R go+rX /srv
USER app
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=25s --start-period=60s --retries=3 \
    CMD ["bash", "app/healthcheck.sh"]
CMD ["python", "-m", "app"]
