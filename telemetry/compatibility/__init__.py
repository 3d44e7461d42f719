"""All private names of other packages that this one uses, in a module for each package.

A module says in which version its names were seen. Nothing is imported before it is needed, and
nothing fails when a name has moved: what needs the name is missing then, which one log line says.
"Without it" in a docstring tells what is different then. Each name has a test in
tests/compatibility/ that fails when it moves.

What this package changes in objects of other packages, from `telemetry.instrument` on:

- an application's ``build_middleware_stack``: to stand outside of all other middleware
- its router's ``middleware_stack``: to see what routing finds where a middleware copies the scope
- ``FastAPI.__call__``, ``Starlette.__call__``: ``opentelemetry-instrument`` has all applications
  measured when they are called
- ``starlette.routing.Router.lifespan``: to flush before the server ends the process
- FastAPI's list of exporters: to flush where the lifespan had begun before
- FastAPI's telemetry settings: one set of request metrics; excluded paths have no spans
- contrib's ``excluded_urls``: excluded paths; requests that the outer application counts
- a meter provider's ``add_metric_reader``: later readers export the service, too
- a periodic reader's ``_receive_metrics``, ``collect``: to export what all workers have measured
- its exporter's ``export``: to count the pushes that have failed
- the SDK's aggregations: requests are added to them, and what has changed is collected from them,
  directly; a forked process begins at zero
- the SDK's observable instruments: a failing callback costs its own metric, a hanging one is named
- an OTLP exporter's ``encode_metrics``: to end series at the receiver (OTLP's flag for no value)
- a database pool's ``connect``: ``observe_pool``, as SQLAlchemy does not tell who waits
- loggers of exporters and SDK: the same line at most once a minute
"""
