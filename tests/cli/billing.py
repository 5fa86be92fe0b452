"""An app whose catalog the tests sync."""

from __future__ import annotations

from runledger import App, Job

app = App(catalog="billing")
nobodys = App()


@app.schedule("closing", "0 3 1 * *", timezone="Europe/Berlin", payload={"why": "secret"})
@app.job("books.close", max_attempts=2)
def close_books(job: Job) -> None:
    """Do nothing."""


app.add_schedule("broken", "61 * * * *", job_type="books.close")
