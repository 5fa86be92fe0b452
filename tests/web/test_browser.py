"""The pages in a real browser: nothing complains, nothing overflows, what is live stays live. `make test-web`.

Pictures of all pages, 1280 and 390 pixels wide, light and dark, go to the directory that RUNLEDGER_PICTURES names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from runledger import Client
from tests.support.chromium import Chromium, chromium
from tests.support.database import Db
from tests.web.conftest import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture
def browser() -> Iterator[Chromium]:
    with chromium() as found:
        yield found


def test_every_page_is_drawn_without_a_complaint(
    serve: Callable[..., Browser], world: SimpleNamespace, browser: Chromium, tmp_path: Path
):
    pictures = Path(os.environ.get("RUNLEDGER_PICTURES") or tmp_path)
    pictures.mkdir(parents=True, exist_ok=True)
    page = serve(allow_changes=True)
    pages = {
        "overview": "", "jobs": "jobs", "running": "running", "waiting": "waiting?type=invoice.archive", "types": "types", "workflows": "workflows", "gates": "gates",
        "schedules": "schedules", "dead-letters": "dead-letters", "workers": "workers", "health": "health",
        "fsck": "fsck", "actions": "actions", "type": "type?name=search.reindex",
        "schedule": "schedule?name=nightly+cleanup", "job-stuck": f"jobs/{world.stuck}",
        "job-retrying": f"jobs/{world.retrying}", "job-dead": f"jobs/{world.hostile}", "job-running": f"jobs/{world.running}",
        "run": f"workflows/{world.run}", "run-gated": f"workflows/{world.gated}", "run-wide": f"workflows/{world.wide}",
        "sign-in": "sign-in",
    }  # fmt: skip
    for name, path in pages.items():
        for width, dark in ((1280, False), (390, False), (1280, True)):
            browser.look(width, dark=dark)
            browser.go(page.server.address + path)
            browser.picture(pictures / f"{name}-{width}{'-dark' if dark else ''}.png")
            assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
            assert browser.evaluate("getComputedStyle(document.body).margin") == "0px", "the style was not applied"
    assert browser.complaints == []
    assert len(list(pictures.glob("*.png"))) >= 3 * len(pages)


CONTRAST = """
(() => {
  const light = (c) => { const f = c.map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
  const rgb = (s) => { const m = s.match(/[\\d.]+/g).map(Number); return { c: m.slice(0, 3), a: m.length > 3 ? m[3] : 1 }; };
  const behind = (e) => { for (; e; e = e.parentElement) { const b = rgb(getComputedStyle(e).backgroundColor);
    if (b.a === 1) return b.c; } return [255, 255, 255]; };
  const poor = [];
  for (const e of document.querySelectorAll("body *:not(svg):not(svg *)")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.nodeValue.trim());
    if (!own || !e.getClientRects().length) continue;
    const a = light(rgb(getComputedStyle(e).color).c), b = light(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push(`${e.nodeName}.${e.className} ${e.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return poor;
})()
"""
UNNAMED = """
[...document.querySelectorAll("a, button, input:not([type=hidden]), select, summary, [tabindex='0']")].filter((e) =>
  !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length || e.title)).map((e) => e.outerHTML)
"""


def test_words_can_be_read_and_everything_has_a_name(
    serve: Callable[..., Browser], world: SimpleNamespace, browser: Chromium
):
    page = serve(allow_changes=True)
    browser.go(page.server.sign_in_address)
    browser.until("location.pathname === '/'")
    for dark in (False, True):
        browser.look(1280, dark=dark)
        for path in ("", "jobs", f"jobs/{world.hostile}", f"workflows/{world.run}", "dead-letters", "health", "types"):
            browser.go(page.server.address + path)
            assert browser.evaluate(CONTRAST) == [], (path, dark)
            assert browser.evaluate(UNNAMED) == [], path
            assert browser.evaluate("document.querySelectorAll('h1').length") == 1, path
            assert (
                browser.evaluate(
                    "[...document.querySelectorAll('[id]')].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)"
                )
                == []
            ), path


def test_a_page_stays_live_and_keeps_what_is_open_and_chosen(
    serve: Callable[..., Browser], world: SimpleNamespace, browser: Chromium, db: Db
):
    page = serve(allow_changes=True)
    browser.look(1280)
    browser.go(f"{page.server.address}workflows/{world.run}")
    browser.evaluate("document.querySelector('.reason details').open = true")
    browser.evaluate("window.marked = document.getElementById('picture')")
    with Client.connect(db.dsn) as client:
        client.cancel_workflow(world.run, "seen enough")
    browser.until("document.querySelector('h1 .pill').textContent === 'canceled'")
    # It was changed in place: the same page, the same parts.
    assert browser.evaluate("window.marked === document.getElementById('picture')")
    assert browser.complaints == []


def test_it_is_told_when_the_database_is_gone_and_when_it_is_back(
    serve: Callable[..., Browser], world: SimpleNamespace, browser: Chromium, db: Db
):
    del world
    page = serve()
    browser.go(page.server.address)
    assert browser.evaluate("document.getElementById('live').textContent") == "live"
    with psycopg.connect(db.server.admin_dsn, autocommit=True) as outside:
        outside.execute(f"alter database {db.database.name} allow_connections false")
    db.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'runledger-web'")
    browser.until("document.getElementById('live').textContent === 'reconnecting…'")
    assert browser.evaluate("document.getElementById('queues') !== null"), "what was seen stays"
    with psycopg.connect(db.server.admin_dsn, autocommit=True) as outside:
        outside.execute(f"alter database {db.database.name} allow_connections true")
    browser.until("document.getElementById('live').textContent === 'live'")


def test_the_printed_address_signs_in_and_a_change_is_made_with_the_keyboard(
    serve: Callable[..., Browser], world: SimpleNamespace, browser: Chromium, db: Db
):
    page = serve(allow_changes=True)
    browser.go(page.server.sign_in_address)
    browser.until("location.pathname === '/' && document.readyState === 'complete'")
    assert browser.evaluate("history.length") >= 1
    assert page.server.door.token not in browser.evaluate("document.referrer + location.href + document.cookie")
    browser.go(f"{page.server.address}jobs/{world.stuck}")
    browser.evaluate("document.querySelector('.change summary').focus()")
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
    browser.call("Input.dispatchKeyEvent", type="keyDown", **enter)
    browser.until("document.querySelector('.change').open")
    browser.evaluate("document.querySelector('.change input[name=reason]').focus()")
    browser.call("Input.insertText", text="typed by hand")
    browser.call("Input.dispatchKeyEvent", type="keyDown", **enter)
    browser.until("document.querySelector('#flash')?.textContent === 'The job is canceled.'")
    assert db.job(world.stuck)["status"] == "CANCELED"
    assert db.job(world.stuck)["status_reason"] == "typed by hand"
    assert browser.complaints == []
