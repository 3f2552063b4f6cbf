"""What happens to an agent that raised: it is started again, more and more slowly, as long as it takes."""

from __future__ import annotations

import asyncio
from typing import Any

from mode import Service
from mode.supervisors import SupervisorStrategy

from pipeline import limits, metrics


class Supervisor(SupervisorStrategy):
    """Starts an agent again after a pause that doubles with each failure in a row.

    Faust's own ends the whole process when an agent fails a hundred times in a second, and may sleep for
    five seconds on a failure. What the agent left open is given to it again (`Stream`), so one that fails
    on the same record stays in front of it and shows in the metric; parking such a record is the agent's
    own duty.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._woken = asyncio.Event()
        self._failures = 0
        self._failed_at = 0.0
        super().__init__(*args, **kwargs)

    def wakeup(self) -> None:
        """Look after the agents (called when one raised)."""
        self._woken.set()

    @Service.task
    async def _supervisor(self) -> None:
        while not self.should_stop:
            await self.wait(self._woken.wait())
            self._woken.clear()
            for service in list(self._services):
                if self.should_stop:
                    return
                if not service.started:
                    await self.start_service(service)
                if service.crashed:
                    await self.restart_service(service)

    async def restart_service(self, service: Any) -> None:
        """Pause, then put a new instance in place of the one that raised."""
        now = asyncio.get_running_loop().time()
        if now - self._failed_at > 2 * limits.CALL_BACKOFF_MAX_SECONDS:
            self._failures = 0
        pause = min(limits.CALL_BACKOFF_SECONDS * 2**self._failures, limits.CALL_BACKOFF_MAX_SECONDS)
        self._failures = min(self._failures + 1, limits.AGENT_FAILURES_COUNTED)
        self._failed_at = now + pause
        metrics.AGENT_FAILED.labels(service.agent.name).inc()
        self.log.warning("agent %s is started again in %.1f s", service.agent.name, pause)
        await self.sleep(pause)
        if self.should_stop:
            return
        index = self._index[service]
        fresh = await self.replacement(service, index)
        self.insert(index, fresh)
        await self.start_service(fresh)
