"""Argilla's background jobs without Redis and without a worker.

Argilla hands two kinds of work to a queue: the status of the records after `min_submitted` changed, and webhooks.
"""

import asyncio
import logging
import queue
import threading
from typing import Any

import fakeredis
import httpx
import redis
import rq
from rq.job import Job, JobStatus

from kto.texts import t

_LOG = logging.getLogger(__name__)
_KEPT = 600  # seconds for which the status of a finished job can be asked for


class LocalQueue(rq.Queue):
    """A queue that runs its own jobs one by one, in a thread: they block, and a slow webhook must stop no vote."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"jobs-{self.name}", daemon=True)
        self._thread.start()

    def enqueue_call(self, func: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Job:
        """Take a job; of rq's `options` (time limits, retries) none has a meaning here."""
        job = self.create_job(func, args=args, kwargs=kwargs)
        job.save()
        self._jobs.put(job)
        return job

    def _work(self) -> None:
        for job in iter(self._jobs.get, None):
            job.set_status(JobStatus.STARTED)
            try:
                asyncio.run(job.func(*job.args, **job.kwargs))
                job.set_status(JobStatus.FINISHED)
            except Exception as error:
                job.set_status(JobStatus.FAILED)
                # Another server that does not answer is no bug of this one.
                trace = not isinstance(error, httpx.HTTPError)
                _LOG.error(t("server.job_failed", job=job.func_name, reason=error), exc_info=trace)
            job.cleanup(_KEPT)

    def finish(self, seconds: float) -> None:
        """Wait until all jobs have run, at most `seconds`, and take no more."""
        self._jobs.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            _LOG.warning(t("server.jobs_left", queue=self.name))


def install() -> None:
    """Replace Redis and its queues; to be called before `argilla_server` is imported."""
    redis.from_url = lambda *args, **kwargs: fakeredis.FakeStrictRedis()
    rq.Queue = LocalQueue
