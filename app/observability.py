"""Logs and metrics for operators. Ids, counts and durations only: never a question, a passage, an entity or a token."""

import logging
import sys

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry(auto_describe=True)
_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5.0)

REQUESTS = Counter("portcullis_requests_total", "Requests answered, by route and status.", ("route", "status"), registry=REGISTRY)
REQUEST_SECONDS = Histogram("portcullis_request_seconds", "Time to answer, by route.", ("route",), buckets=_SECONDS, registry=REGISTRY)
RETRIEVALS = Counter("portcullis_retrievals_total", "Searches by outcome.", ("outcome",), registry=REGISTRY)
RECHECK_DROPPED = Counter(
    "portcullis_recheck_dropped_total",
    "Hits of the index that the re-check dropped: `absent` and `behind` lag the register, `denied`: filter and referee disagreed.",
    ("reason",),
    registry=REGISTRY,
)
for _reason in ("absent", "behind", "denied"):
    RECHECK_DROPPED.labels(_reason)  # a series that is born with its first hit is 1 when it is first seen, and nothing seems to have risen
ANSWERS = Counter("portcullis_answers_total", "Answers by state.", ("state",), registry=REGISTRY)
AUDIT_REFUSED = Counter("portcullis_audit_refused_total", "Releases refused because the record could not be written.", registry=REGISTRY)
SIGN_IN_REFUSED = Counter("portcullis_sign_in_refused_total", "Tokens and sign-ins refused, by reason.", ("reason",), registry=REGISTRY)
JOBS = Counter("portcullis_jobs_total", "Background jobs ended, by kind and state.", ("kind", "state"), registry=REGISTRY)
QUEUE = Gauge("portcullis_queue_jobs", "Jobs in the queue of the installation, by kind and state.", ("kind", "state"), registry=REGISTRY)
QUEUE_OLDEST_S = Gauge(
    "portcullis_queue_oldest_seconds", "Age of the oldest job in the queue, by kind and state.", ("kind", "state"), registry=REGISTRY
)
LOG_UNSIGNED = Gauge("portcullis_log_unsigned_entries", "Entries of the log that no checkpoint covers yet.", registry=REGISTRY)
LOG_UNSIGNED_OLDEST_S = Gauge(
    "portcullis_log_unsigned_oldest_seconds", "Age of the oldest entry of the log that no checkpoint covers yet.", registry=REGISTRY
)
LOG_STANDSTILL = Gauge("portcullis_log_standstill", "1 while the log takes no records until somebody has looked.", registry=REGISTRY)
STAGE_SECONDS = Histogram("portcullis_stage_seconds", "Time in one stage of a search.", ("stage",), buckets=_SECONDS, registry=REGISTRY)


def configure_logging(level: str = "INFO") -> None:
    """Structured logs, one JSON object a line on standard output; libraries speak from WARNING up."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        # Standard error as it is when something is said: what it was at the start may be closed or replaced by then.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger for one module. Events are past-tense names; values are ids, counts and durations."""
    return structlog.get_logger(name)  # type: ignore[no-any-return]  # structlog says Any
