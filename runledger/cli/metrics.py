"""`runledger metrics`: print what Prometheus would read, or serve it."""

from __future__ import annotations

import signal
import threading

import click

from runledger import _calls
from runledger.cli._params import ADDRESS
from runledger.cli._run import Run, verb


@click.command()
@click.option("--listen", type=ADDRESS, help="Serve /metrics, /healthz and /readyz there until interrupted.")
@verb
def metrics(run: Run, /, *, listen: tuple[str, int] | None) -> None:
    """Print the metrics once, as text for Prometheus; or serve them.

    The kind observer is enough. There is no login: listen where only the monitoring reaches.
    """
    if listen is None or run.sql_only:
        text = run.call(_calls.metrics_prometheus())
        run.text("metrics", text.removesuffix("\n").split("\n"), cut=False)
        return
    from runledger import metrics as m

    try:
        server = m.server(run.dsn, listen)
    except OSError as error:
        raise click.ClickException(f"cannot listen there: {error}") from error
    # Without a handler nothing happens: the first process of a container is not ended by what it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    run.note("serving /metrics, /healthz and /readyz on {}:{}".format(*server.server_address[:2]))
    with server:
        server.serve_forever(poll_interval=0.2)
