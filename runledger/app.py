"""The application object: job types with their handlers, and a worker that runs them."""

from __future__ import annotations

from collections.abc import Sequence

from runledger.config import Config
from runledger.registry import Registry
from runledger.supervisor import Supervisor, run


class App(Registry):
    """Job types by name. `@app.job("email.send")` registers a handler, `app.run(dsn)` works.

    app = App()

    @app.job("email.send", max_attempts=5, timeout=30, retry_delays={"smtp.busy": 60})
    async def send_email(job: Job) -> dict:
        await job.progress(1, 2)
        return {"message_id": "…"}

    `App(catalog="billing")` names the set of job types and schedules that this code owns, for `runledger sync`.
    """

    def run(
        self,
        dsn: str = "",
        config: Config | None = None,
        *,
        observers: Sequence[object] = (),
        signals: bool = True,
    ) -> None:
        """Define the job types and work until SIGTERM or SIGINT; see `Supervisor` for more say in it."""
        run(Supervisor(self, dsn, config=config, observers=observers).run(signals=signals))
