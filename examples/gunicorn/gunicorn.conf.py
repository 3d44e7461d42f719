"""Read by ``gunicorn main:app`` in this folder."""

bind = "0.0.0.0:8000"
workers = 4
worker_class = "uvicorn_worker.UvicornWorker"
# Workers are replaced now and then; no counter decreases.
max_requests = 10_000
max_requests_jitter = 1_000
