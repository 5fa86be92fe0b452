"""Who is let in: names, origins, proofs, tokens; and requests that are none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from runledger.web import Settings
from runledger.web._server import AT_ONCE, LONGEST_FORM, TRIES_A_MINUTE, Handler
from tests.functions.conftest import Ledger
from tests.support.database import Db
from tests.web.conftest import Browser

TOKEN = "a token of some length"
FORM = "application/x-www-form-urlencoded"
FORM_BEGUN = (
    f"POST /fsck HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: 9\r\n\r\nscope".encode()
)


@pytest.fixture
def q(db: Db) -> Ledger:
    ledger = Ledger(db)
    ledger.define("t")
    return ledger


def raw(page: Browser, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", page.server.port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "127.0.0.1:1", "localhost:8710"])
def test_it_answers_under_its_own_names(serve: Callable[..., Browser], host: str):
    assert serve().get("/sign-in", Host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8710", "127.0.0.1.evil.example", "10.0.0.1", "", "[", "a b"]
)
def test_it_answers_under_no_other_name(serve: Callable[..., Browser], host: str):
    page = serve()
    for path in ("/", "/sign-in", "/static/app.js"):
        answer = page.get(path, Host=host)
        assert answer.status == 421
        assert b"<html" not in answer.body
    assert serve(hosts=("Queue.Example",)).get("/sign-in", Host="queue.example:80").status == 200


def test_a_request_without_a_name_or_with_two_is_refused(serve: Callable[..., Browser]):
    page = serve()
    assert b" 421 " in raw(page, b"GET / HTTP/1.0\r\n\r\n").splitlines()[0]
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert b" 421 " in raw(page, two).splitlines()[0]


def test_every_answer_has_the_headers_that_keep_others_out(serve: Callable[..., Browser]):
    page = serve()
    for path in ("/", "/nothing", "/static/style.css", "/jobs?n=0"):
        headers = page.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert page.get("/").headers["cache-control"] == "no-store"
    assert page.get("/static/app.js", If_None_Match=page.get("/static/app.js").headers["etag"]).status == 304


def test_other_pages_may_link_here_and_nothing_else(serve: Callable[..., Browser]):
    page = serve()
    assert page.get("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
    assert page.get("/", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors").status == 200
    for mode in ("no-cors", "cors", "websocket"):
        assert page.get("/jobs", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode=mode).status == 403
    proof = page.get("/fsck").proof
    foreign = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert page.post("/fsck", {"csrf": proof, "scope": "full"}, **foreign).status == 403


def test_a_form_needs_the_proof_of_its_own_visitor(serve: Callable[..., Browser], q: Ledger):
    page = serve(allow_changes=True)
    page.sign_in()
    form = {"type": "t", "reason": "r"}
    other = Browser(page.server)
    proofs = ["", "0" * 64, other.get("/fsck").proof, "ä"]
    for proof in proofs:
        assert page.post("/do/pause-type", {**form, "csrf": proof}).status == 403
    assert page.post("/do/pause-type", form).status == 403
    own = page.get("/fsck").proof
    port = page.server.port
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{port + 1}", f"http://localhost:{port}"):
        assert page.post("/do/pause-type", {**form, "csrf": own}, Origin=origin).status == 403
    assert q.db.value("select is_paused from runledger.job_definitions where job_type = 't'") is False
    assert page.post("/do/pause-type", {**form, "csrf": own}, Origin=f"http://127.0.0.1:{port}").status == 303
    assert q.db.value("select is_paused from runledger.job_definitions where job_type = 't'") is True


def test_it_is_read_only_unless_told_otherwise(serve: Callable[..., Browser], q: Ledger):
    job_id = q.enqueue()
    page = serve()
    page.sign_in()
    assert "/do/" not in page.read(f"/jobs/{job_id}").html
    assert "read only" in page.read("/").text
    assert page.change("cancel-job", job=job_id, reason="r").status == 403
    assert q.job(job_id)["status"] == "PENDING"


def test_changes_need_the_token(serve: Callable[..., Browser], q: Ledger):
    job_id = q.enqueue()
    page = serve(allow_changes=True)
    assert "/do/" not in page.read(f"/jobs/{job_id}").html
    assert "/sign-in" in page.read(f"/jobs/{job_id}").links
    assert page.change("cancel-job", job=job_id, reason="r").status == 401
    assert page.submit("/sign-in", "/sign-in", token="wrong").status == 401
    assert page.change("cancel-job", job=job_id, reason="r").status == 401
    before = page.cookie
    page.sign_in()
    assert page.cookie != before
    assert 'action="/do/cancel-job"' in page.read(f"/jobs/{job_id}").html
    assert page.change("cancel-job", job=job_id, reason="r").status == 303
    assert q.job(job_id)["status"] == "CANCELED"
    assert page.submit("/fsck", "/sign-out").status == 303
    assert "/do/" not in page.read(f"/jobs/{job_id}").html


def test_the_cookie_is_of_no_use_to_others(serve: Callable[..., Browser]):
    page = serve(allow_changes=True)
    answer = page.submit("/sign-in", "/sign-in", token=page.server.door.token)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(answer.headers["set-cookie"].split("; "))
    assert page.server.door.token not in answer.headers["set-cookie"]


@pytest.mark.parametrize("foreign", ['theirs={"a":1}', "two words=1 2", "naïve=é", "expires=never", "alone", "a=1; a=2;"])
def test_cookies_of_other_programs_of_the_machine_keep_nobody_out(serve: Callable[..., Browser], foreign: str):
    page = serve(allow_changes=True)
    ours = page.get("/sign-in")
    cookie = page.cookie
    both = {"Cookie": f"{foreign}; {cookie}"}
    form = {"csrf": ours.proof, "token": page.server.door.token}
    assert page.post("/sign-in", form, **both).status == 303
    assert "changes allowed" in page.get("/", Cookie=f"{foreign}; {page.cookie}; {foreign}").text


def test_a_program_may_send_the_token_in_a_header(serve: Callable[..., Browser], q: Ledger):
    job_id = q.enqueue()
    page = serve(allow_changes=True)
    form = {"job": job_id, "reason": "r"}
    assert page.post("/do/cancel-job", form, Authorization="Bearer wrong-wrong-wrong").status == 403
    assert page.post("/do/cancel-job", form, Authorization=f"Bearer {page.server.door.token}").status == 303
    assert q.job(job_id)["status"] == "CANCELED"


def test_guessing_ends_soon(serve: Callable[..., Browser]):
    page = serve(allow_changes=True)
    tries = [page.submit("/sign-in", "/sign-in", token=f"guess {n}").status for n in range(TRIES_A_MINUTE + 2)]
    assert tries == [401] * TRIES_A_MINUTE + [429] * 2
    assert page.submit("/sign-in", "/sign-in", token=page.server.door.token).status == 429


def test_with_a_token_of_ones_own_reading_needs_it_too(serve: Callable[..., Browser]):
    page = serve(token=TOKEN)
    for path in ("/", "/jobs", "/nothing", "/find?q=x"):
        answer = page.get(path)
        assert (answer.status, answer.headers["location"]) == (303, "/sign-in")
    assert page.post("/fsck", {"scope": "fast"}).status == 401
    assert page.get("/static/style.css").status == 200
    assert page.get("/", Authorization=f"Bearer {TOKEN}").status == 200
    page.sign_in()
    assert page.get("/").status == 200


@pytest.mark.parametrize("listen", ["0.0.0.0:8710", "[::]:8710", "192.0.2.1:80", "no-such-name.invalid:80"])
def test_other_machines_need_a_token(listen: str):
    with pytest.raises(ValueError, match="needs a token"):
        Settings.of(listen)
    assert Settings.of(listen, token=TOKEN).token == TOKEN


@pytest.mark.parametrize(
    "listen", ["", "8710", ":8710", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "a@b:1", "[::1"]
)
def test_an_address_that_is_none_is_refused(listen: str):
    with pytest.raises(ValueError, match="like 127.0.0.1:8710"):
        Settings.of(listen)


def test_a_short_token_is_refused():
    with pytest.raises(ValueError, match="at least 16"):
        Settings.of("127.0.0.1:8710", token="short")


def test_listening_on_all_addresses_it_answers_to_addresses_and_given_names(serve: Callable[..., Browser]):
    page = serve(listen="0.0.0.0:0", token=TOKEN, hosts=("queue.example",))
    for host, status in {"192.0.2.7": 200, "queue.example": 200, "evil.example": 421}.items():
        assert page.get("/sign-in", Host=host).status == status


# --- requests that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_told_which_there_are(serve: Callable[..., Browser], method: str):
    answer = serve().ask(method, "/")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


def test_a_page_that_is_only_read_takes_no_form(serve: Callable[..., Browser]):
    page = serve()
    assert page.submit("/fsck", "/jobs").status == 405
    assert page.submit("/fsck", "/nothing").status == 404


def test_head_has_no_body(serve: Callable[..., Browser]):
    answer = serve().ask("HEAD", "/health")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 1000


def test_forms_are_bounded_and_are_forms(serve: Callable[..., Browser]):
    page = serve()
    assert page.ask("POST", "/fsck", b"x" * (LONGEST_FORM + 1), {"Content-Type": FORM}).status == 400
    assert page.ask("POST", "/fsck", b"{}", {"Content-Type": "application/json"}).status == 400
    assert page.ask("POST", "/fsck", b"a=1&a=2", {"Content-Type": FORM}).status == 400
    assert page.ask("POST", "/fsck", "ä=1".encode(), {"Content-Type": FORM}).status == 400
    assert page.ask("POST", "/fsck", None, {"Content-Type": FORM}).status == 400
    assert page.ask("POST", "/fsck", b"", {"Content-Type": FORM, "Content-Length": "-1"}).status == 400
    chunked = {"Content-Type": FORM, "Transfer-Encoding": "chunked", "Content-Length": "0"}
    assert page.ask("POST", "/fsck", b"", chunked).status == 400


def test_long_addresses_and_rubbish_are_refused(serve: Callable[..., Browser], caplog: pytest.LogCaptureFixture):
    page = serve()
    assert page.get("/jobs?contains=" + "x" * 5000).status == 414
    assert raw(page, b"\x16\x03\x01\x02\x00\r\n\r\n") == b"Bad Request"  # in the manner of HTTP/0.9
    for address in (b"http://[", b"http://[x/", b"http://a]/"):
        assert b" 400 " in raw(page, b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % address).splitlines()[0]
    assert not caplog.records
    assert b" 414 " in raw(page, b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n").splitlines()[0]
    assert page.read("/").status == 200


def test_who_sends_too_slowly_is_hung_up_on(serve: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Handler, "patience", 0.2)
    page = serve()
    for beginning in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", FORM_BEGUN):
        with socket.create_connection(("127.0.0.1", page.server.port), timeout=30) as connection:
            connection.sendall(beginning)
            while connection.recv(65536):
                pass
    assert page.read("/").status == 200


def test_behind_a_proxy_with_tls_the_cookie_is_for_tls_alone(serve: Callable[..., Browser]):
    page = serve(hosts=("queue.example",))
    answer = page.get("/", Host="queue.example", X_Forwarded_Proto="https")
    assert answer.headers["set-cookie"].endswith("; Secure")
    form = {
        "csrf": answer.proof if "csrf" in answer.html else page.get("/fsck", Host="queue.example").proof,
        "scope": "fast",
    }
    told = page.post("/fsck", form, Host="queue.example", Origin="https://queue.example")
    assert told.status == 200


def test_a_shortage_of_threads_costs_no_room(serve: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch):
    page = serve()

    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", none)
        for _ in range(AT_ONCE):
            with pytest.raises(OSError, match=r"reset|without response"):
                page.get("/health")
    assert page.get("/health").status == 200


def test_too_many_at_once_are_turned_away(serve: Callable[..., Browser]):
    page = serve()
    address = ("127.0.0.1", page.server.port)
    waiting = [socket.create_connection(address, timeout=30) for _ in range(AT_ONCE)]
    try:
        # Each of them has a thread that waits for its request; accepting is in order.
        assert b" 503 " in raw(page, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").splitlines()[0]
    finally:
        for connection in waiting:
            connection.close()
