"""Argilla's background jobs without Redis and without a worker.

Argilla hands two kinds of work to a queue: the status of the records after `min_submitted` changed, and webhooks.
"""

import asyncio
import logging
import queue
import threading
from collections import deque
from typing import Any

import fakeredis
import httpx
import redis
import rq
from rq.job import Job, JobStatus

from kto.texts import t

_LOG = logging.getLogger(__name__)
_KEPT = 100  # finished jobs per queue whose status can still be asked for


class LocalQueue(rq.Queue):
    """A queue that runs its own jobs, one after the other.

    It does so in a thread, because Argilla's jobs wait for other servers without giving way: in the server's event
    loop a slow webhook would stop everybody's votes. A job that fails is logged.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._jobs: queue.Queue[Job] = queue.Queue()
        self._finished: deque[Job] = deque()
        threading.Thread(target=self._work, name=f"jobs-{self.name}", daemon=True).start()
        _queues.append(self)

    def enqueue_call(self, func: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Job:
        """Take a job; of rq's `options` (time limits, retries) none has a meaning here."""
        job = self.create_job(func, args=args, kwargs=kwargs)
        job.save()
        self._jobs.put(job)
        return job

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job.set_status(JobStatus.STARTED)
                asyncio.run(job.func(*job.args, **job.kwargs))
                job.set_status(JobStatus.FINISHED)
            except Exception as error:
                job.set_status(JobStatus.FAILED)
                # Another server that does not answer is no bug of this one.
                trace = not isinstance(error, httpx.HTTPError)
                _LOG.error(t("server.job_failed", job=job.func_name, reason=error), exc_info=trace)
            self._finished.append(job)
            if len(self._finished) > _KEPT:
                self._finished.popleft().delete()
            self._jobs.task_done()

    def wait(self, seconds: float) -> bool:
        """Wait until all jobs have run, at most `seconds`; tell whether they have."""
        with self._jobs.all_tasks_done:
            return self._jobs.all_tasks_done.wait_for(lambda: not self._jobs.unfinished_tasks, seconds)


_queues: list[LocalQueue] = []


def install() -> None:
    """Replace Redis and its queues; to be called before `argilla_server` is imported."""
    redis.from_url = lambda *args, **kwargs: fakeredis.FakeStrictRedis()
    rq.Queue = LocalQueue


def finish(seconds: float) -> None:
    """Let the jobs that wait run to their end, at most `seconds` per queue."""
    for each in _queues:
        if not each.wait(seconds):
            _LOG.warning(t("server.jobs_left", queue=each.name))
