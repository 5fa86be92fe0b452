"""`runledger web`: a page in the browser."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

import click

from runledger.cli._params import LEVEL


@click.command()
@click.option("--listen", default="127.0.0.1:8710", show_default=True, help="Address and port.")
@click.option("--allow-mutations", is_flag=True, help="Let who signs in change things.")
@click.option(
    "--token",
    help="What one signs in with, also to read; needed to listen on more than loopback. Better in RUNLEDGER_WEB_TOKEN:"
    " a command line is seen by others.",
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="Answer under this name, too. May be repeated.")
@click.option("--log-level", type=LEVEL, default="WARNING", show_default=True, help="INFO tells of each request.")
@click.pass_obj
def web(
    dsn: str, /, *, listen: str, allow_mutations: bool, token: str | None, allow_host: tuple[str, ...], log_level: str
) -> None:
    """Serve a page in the browser: queues, jobs, workflows, health, and why something does not run.

    It only reads, with the rights of its role: one that is granted `observer` is enough. With --allow-mutations whoever
    signs in with the token that is printed may pause types and schedules, cancel, requeue, redrive and complete gates.
    Payloads are shown on demand, to roles that may read them, and that is recorded. It speaks plain HTTP: put a proxy
    with TLS in front before it leaves this machine.
    """
    from runledger._link import brief
    from runledger.web import Server, Settings

    logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    given = token or os.environ.get("RUNLEDGER_WEB_TOKEN") or None
    try:
        settings = Settings.of(listen, allow_changes=allow_mutations, token=given, hosts=allow_host)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    try:
        server = Server(dsn, settings)
    except OSError as error:
        click.echo(f"runledger: cannot listen on {listen}: {brief(error)}", err=True)
        sys.exit(1)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    click.echo(f"Runledger on {server.address}  (Ctrl-C ends it)")
    if allow_mutations and given is None:
        click.echo(f"to change things, sign in:  {server.sign_in_address}")
    elif given is not None:
        click.echo(f"sign in with your token:  {server.address}sign-in")
    sys.stdout.flush()
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()
