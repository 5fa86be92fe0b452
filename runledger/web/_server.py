"""The server: who may ask for what, in which form; every answer leaves with the same headers.

A page in the browser of an operator is reachable by every other page he has open, so: the name in Host must be one of
ours (DNS rebinding), nothing is answered to foreign pages but a visit, and what is posted needs a token that belongs to
a SameSite cookie. Nothing of a query or of a form is logged.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit
from uuid import UUID

import psycopg

from runledger import _calls
from runledger._link import brief
from runledger.errors import InvalidArgument, NotFound, RunledgerError
from runledger.web import _details, _lists
from runledger.web._changes import CHANGES
from runledger.web._frame import BadRequest, Missing, Page, View, frame, identifier, note, section
from runledger.web._markup import el, url, visible
from runledger.web._overview import overview
from runledger.web._source import Session, Source, Unavailable

logger = logging.getLogger("runledger")
AT_ONCE = 24
"""Requests; more are turned away."""
LONGEST_PATH, LONGEST_FORM, FIELDS = 4000, 16_384, 20
SESSION_SECONDS = 12 * 3600.0
TOKEN_CHARACTERS = 16
TRIES_A_MINUTE = 10
FSCK_SECONDS = 60.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Connection": "close",
}
STATIC = {"style.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
PAGES: Mapping[str, Callable[[View, Source], Page]] = {
    "/": overview,
    "/jobs": _lists.jobs,
    "/running": _lists.running,
    "/waiting": _lists.waiting,
    "/types": _lists.types,
    "/workflows": _lists.workflows,
    "/gates": _lists.gates,
    "/schedules": _lists.schedules,
    "/dead-letters": _lists.dead_letters,
    "/workers": _lists.workers,
    "/health": _lists.health,
    "/fsck": _lists.fsck,
    "/actions": _lists.actions,
    "/type": _details.job_type,
    "/schedule": _details.schedule,
}
THINGS: Mapping[str, Callable[[View, Source, UUID], Page]] = {"jobs": _details.job, "workflows": _details.workflow}


@dataclass(frozen=True, slots=True)
class Settings:
    """How the page is served. `token` opens it; without one given, changes ask for a random one."""

    host: str
    port: int
    allow_changes: bool = False
    token: str | None = None
    hosts: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, listen: str, *, allow_changes: bool = False, token: str | None = None, hosts: tuple[str, ...] = ()
    ) -> Settings:
        """Settings from words; ValueError says what is wrong with them."""
        try:
            parts = urlsplit(f"//{listen}")
            host, port, rest = parts.hostname, parts.port, parts.path or parts.username
        except ValueError:
            host = port = rest = None
        if not host or port is None or rest:
            raise ValueError("give an address and a port, like 127.0.0.1:8710 or [::1]:8710")
        if token is not None and len(token) < TOKEN_CHARACTERS:
            raise ValueError(f"a token has at least {TOKEN_CHARACTERS} characters")
        if token is None and not is_loopback(host):
            raise ValueError(f"{host} can be reached from other machines: that needs a token")
        return cls(host, port, allow_changes, token, tuple(h.lower() for h in hosts))


def is_loopback(host: str) -> bool:
    """Whether an address or name stands for this machine alone."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(a.split("%")[0]).is_loopback for a in found)


class Door:
    """Who has shown the token: cookies in memory, none of them for ever."""

    def __init__(self, settings: Settings) -> None:
        self.token = settings.token or secrets.token_urlsafe(24)
        self.guards_reading = settings.token is not None
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._open: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._failed: list[float] = []

    def proof(self, visitor: str) -> str:
        """What a form of this visitor carries."""
        return hmac.new(self._secret, visitor.encode(), hashlib.sha256).hexdigest()

    def is_token(self, given: str) -> bool:
        """Whether it is the token; after some wrong ones none is for a while."""
        now = time.monotonic()
        with self._lock:
            self._failed = [at for at in self._failed if now - at < 60]
            if len(self._failed) >= TRIES_A_MINUTE:
                raise TooManyTriesError
            if hmac.compare_digest(given.encode(), self.token.encode()):
                return True
            self._failed.append(now)
            return False

    def admit(self) -> str:
        """A new visitor who has shown the token."""
        visitor = secrets.token_urlsafe(24)
        with self._lock:
            if len(self._open) >= 200:
                self._open.pop(next(iter(self._open)))
            self._open[visitor] = time.monotonic() + SESSION_SECONDS
        return visitor

    def dismiss(self, visitor: str) -> None:
        """The visitor goes."""
        with self._lock:
            self._open.pop(visitor, None)

    def knows(self, visitor: str) -> bool:
        """Whether the visitor has shown the token, not too long ago."""
        with self._lock:
            return self._open.get(visitor, 0.0) > time.monotonic()

    def say(self, visitor: str, words: str) -> None:
        """Tell the visitor on the next page."""
        with self._lock:
            if len(self._said) >= 200:
                self._said.clear()
            self._said[visitor] = words

    def said(self, visitor: str) -> str | None:
        """What is to be told, once."""
        with self._lock:
            return self._said.pop(visitor, None)


class TooManyTriesError(Exception):
    """Too many wrong tokens."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `location` makes it a redirection."""

    status: HTTPStatus
    content: str | bytes = ""
    kind: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


def redirect(location: str, *headers: tuple[str, str]) -> Reply:
    """Look there instead, with a GET."""
    return Reply(HTTPStatus.SEE_OTHER, headers=(("Location", location), *headers))


class Server(ThreadingHTTPServer):
    """Serves the pages of one database until `shutdown`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, dsn: str, settings: Settings) -> None:
        family, *_ = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        self.address_family = family
        self.settings = settings
        self.door = Door(settings)
        self.source = Source(dsn)
        self.fsck_turn = threading.Lock()
        self._room = threading.BoundedSemaphore(AT_ONCE)
        files = resources.files("runledger.web") / "static"
        self.static = {name: (files / name).read_bytes() for name in STATIC}
        super().__init__((settings.host, settings.port), Handler)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        """The address to type."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self.port}/"

    @property
    def sign_in_address(self) -> str:
        """The address that signs in; what stands after # is not sent to any server."""
        return f"{self.address}sign-in#{self.door.token}"

    def is_own_host(self, name: str) -> bool:
        """Whether the name is one of ours: else some page has made it point here. An address cannot be made to."""
        name = name.lower().rstrip(".")
        if name in {"localhost", self.settings.host.lower(), *self.settings.hosts}:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not is_loopback(self.settings.host)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread, if there is room."""
        if not self._room.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # there are no threads to be had
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve it, and make room again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        del request, client_address
        logger.debug("a request was broken off")

    def server_close(self) -> None:
        """Close the socket and the connections."""
        super().server_close()
        self.source.close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "runledger"
    sys_version = ""
    timeout = 15
    patience = 30.0
    """Seconds until a request must have been sent, however slowly."""

    def setup(self) -> None:
        """Begin to wait for the request."""
        super().setup()
        self._clock = threading.Timer(self.patience, self._hang_up)
        self._clock.daemon = True
        self._clock.start()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Wait no more."""
        self._clock.cancel()
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the method it replaces
        """Say nothing: `_send` tells of each request, without its query."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what http.server itself refuses."""
        del message, explain
        self.close_connection = True
        status = HTTPStatus(code)
        if not hasattr(self, "path"):
            self.path = "?"
        self._send(Reply(status, status.phrase, "text/plain; charset=utf-8"))

    def do_GET(self) -> None:
        """Read."""
        self._serve(self._get)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Change something, or read what is not to be read by accident."""
        self._serve(self._post)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return lambda: self._send(
                Reply(HTTPStatus.METHOD_NOT_ALLOWED, "405\n", "text/plain", (("Allow", "GET, HEAD, POST"),))
            )
        raise AttributeError(name)

    # what was asked

    @cached_property
    def _address(self) -> SplitResult:
        try:
            return urlsplit(self.path)
        except ValueError:
            raise BadRequest("That is no address.") from None

    @cached_property
    def _path(self) -> str:
        return unquote(self._address.path)

    @cached_property
    def _query(self) -> dict[str, str]:
        return _pairs(self._address.query)

    @cached_property
    def _visitor(self) -> str:
        # Not http.cookies: it reads none where one makes no sense to it, and those of all programs of a machine come,
        # whatever their port.
        pairs = (pair.partition("=") for pair in self.headers.get("Cookie", "").split(";"))
        visitor = {name.strip(): value.strip() for name, _, value in pairs}.get(self._cookie_name, "")
        return visitor if visitor.isascii() and 20 <= len(visitor) <= 60 else ""

    @property
    def _cookie_name(self) -> str:
        return f"runledger_{self.server.port}"

    def _cookie(self, visitor: str) -> tuple[str, str]:
        # A proxy with TLS in front says so; who lies about it only keeps a cookie from himself.
        secure = "; Secure" if self.headers.get("X-Forwarded-Proto") == "https" else ""
        return "Set-Cookie", f"{self._cookie_name}={visitor}; Path=/; HttpOnly; SameSite=Strict{secure}"

    @cached_property
    def _has_header_token(self) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and bool(given) and self.server.door.is_token(given.strip())

    @property
    def _is_known(self) -> bool:
        return self._has_header_token or self.server.door.knows(self._visitor)

    # who may ask

    def _serve(self, answer: Callable[[], Reply]) -> None:
        try:
            reply = self._refusal() or answer()
        except TooManyTriesError:
            reply = self._told(HTTPStatus.TOO_MANY_REQUESTS, "Too many wrong tokens. Wait a minute.")
        except BadRequest as error:
            reply = self._told(HTTPStatus.BAD_REQUEST, str(error))
        except Missing as error:
            reply = self._told(HTTPStatus.NOT_FOUND, str(error))
        except RunledgerError as error:
            status = {NotFound: HTTPStatus.NOT_FOUND, InvalidArgument: HTTPStatus.BAD_REQUEST}
            words = f"{error.message[:1].upper()}{error.message[1:]}. ({error.code})"
            reply = self._told(status.get(type(error), HTTPStatus.CONFLICT), words, error.hint)
        except psycopg.errors.InsufficientPrivilege as error:
            reply = self._told(HTTPStatus.FORBIDDEN, f"The role of this page may not do that ({brief(error)}).")
        except Unavailable as error:
            words = f"The database did not answer: {error}."
            if self.command == "POST":
                words += " It is not known whether what you asked for was done: look before you try again."
            reply = self._told(HTTPStatus.SERVICE_UNAVAILABLE, words)
        except psycopg.Error as error:
            reply = self._told(HTTPStatus.SERVICE_UNAVAILABLE, *_schema_words(error))
        except Exception:
            logger.exception("a page failed")
            reply = self._told(HTTPStatus.INTERNAL_SERVER_ERROR, "This page is broken. The log of the server says how.")
        self._send(reply)

    def _refusal(self) -> Reply | None:
        if len(self.path) > LONGEST_PATH:
            return Reply(HTTPStatus.REQUEST_URI_TOO_LONG, "too long\n", "text/plain")
        hosts = self.headers.get_all("Host") or []
        try:
            name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
        except ValueError:
            name = None
        if name is None or not self.server.is_own_host(name):
            return Reply(
                HTTPStatus.MISDIRECTED_REQUEST,
                "This page is not served under that name (--allow-host).\n",
                "text/plain",
            )
        site, mode = self.headers.get("Sec-Fetch-Site"), self.headers.get("Sec-Fetch-Mode")
        if site in ("cross-site", "same-site") and not (mode == "navigate" and self.command == "GET"):
            return Reply(HTTPStatus.FORBIDDEN, "Not for other pages.\n", "text/plain")
        is_open = self._path.startswith("/static/") or self._path == "/sign-in"
        if self.server.door.guards_reading and not is_open and not self._is_known:
            return (
                redirect("/sign-in")
                if self.command != "POST"
                else self._told(HTTPStatus.UNAUTHORIZED, "Sign in first.")
            )
        return None

    # reading

    def _get(self) -> Reply:
        path = self._path
        if path.startswith("/static/"):
            return self._static(path.removeprefix("/static/"))
        if path == "/sign-in":
            return self._page(_sign_in("", self._proof()), None)
        if path == "/find":
            return self._find()
        if path == "/fsck" or path in PAGES:
            draw: Callable[[View], Page] = lambda view: PAGES[path](view, self.server.source)  # noqa: E731
        else:
            head, _, rest = path.removeprefix("/").partition("/")
            if head not in THINGS:
                raise Missing("There is no such page.")
            thing = identifier(rest)
            draw = lambda view: THINGS[head](view, self.server.source, thing)  # noqa: E731
        self._clock.cancel()  # now it is the database that takes time
        with self.server.source.session() as session:
            view = self._view(session)
            return self._page(draw(view), view)

    def _static(self, name: str) -> Reply:
        content = self.server.static.get(name)
        if content is None:
            raise Missing("There is no such file.")
        tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        headers = (("ETag", tag), ("Cache-Control", "no-cache"))
        if self.headers.get("If-None-Match") == tag:
            return Reply(HTTPStatus.NOT_MODIFIED, headers=headers)
        return Reply(HTTPStatus.OK, content, f"{STATIC[name]}; charset=utf-8", headers)

    def _find(self) -> Reply:
        words = self._query.get("q", "").strip()
        if not words:
            return redirect("/jobs")
        with self.server.source.session() as session:
            try:
                thing = UUID(words)
            except ValueError:
                names = session.look(_calls.list_job_definitions(words, max_rows=2)).value or []
                exact = [d for d in names if d.job_type == words] or (names if len(names) == 1 else [])
                if exact:
                    return redirect(url("/type", name=exact[0].job_type))
                return redirect(url("/types" if names else "/jobs", contains=words))
            if session.look(_calls.get_job(thing)).value:
                return redirect(f"/jobs/{thing}")
            if session.look(_calls.get_workflow(thing)).value:
                return redirect(f"/workflows/{thing}")
        raise Missing("No job and no run has this id, or the role of this page may not see them.")

    def _view(self, session: Session, form: Mapping[str, str] | None = None) -> View:
        door = self.server.door
        proof = self._proof()
        known = self._is_known
        allowed = self.server.settings.allow_changes
        is_refresh = self.headers.get("X-Refresh") is not None
        return View(
            session,
            self._query,
            form or {},
            proof,
            can_change=allowed and known,
            offers_sign_in=allowed and not known,
            signed_in=known and not self._has_header_token,
            notice=None if is_refresh else door.said(self._visitor),
        )

    _new_cookie: tuple[str, str] | None = None

    def _proof(self) -> str:
        if not self._visitor:
            self._visitor = secrets.token_urlsafe(24)
            self._new_cookie = self._cookie(self._visitor)
        return self.server.door.proof(self._visitor)

    def _page(self, page: Page, view: View | None, status: HTTPStatus = HTTPStatus.OK) -> Reply:
        headers = [("Cache-Control", "no-store")]
        if self._new_cookie:
            headers.append(self._new_cookie)
        content = frame(page, view, live=status is HTTPStatus.OK)
        return Reply(status, content, headers=tuple(headers))

    def _told(self, status: HTTPStatus, words: str, hint: str | None = None) -> Reply:
        title = status.phrase if status.value < 500 else "Not now"
        content = section(
            title,
            el("p", words, cls="explanation"),
            note(hint),
            el("p", el("a", "Overview", href="/")),
            id_="told",
            level="h1",
        )
        return self._page(Page(title, [content], refresh=0), None, status)

    # changing

    def _form(self) -> dict[str, str]:
        if self.headers.get("Transfer-Encoding") or (self.headers.get("Content-Length") or "").strip() == "":
            raise BadRequest("A length is needed.")
        words = self.headers["Content-Length"].strip()
        if not (words.isascii() and words.isdigit()) or int(words) > LONGEST_FORM:
            raise BadRequest(f"A form has at most {LONGEST_FORM} bytes.")
        if self.headers.get_content_type() != "application/x-www-form-urlencoded":
            raise BadRequest("A form is application/x-www-form-urlencoded.")
        try:
            content = self.rfile.read(int(words))
            self._clock.cancel()
            return _pairs(content.decode("ascii"))
        except UnicodeDecodeError:
            raise BadRequest("A form is ASCII, with %-escapes.") from None

    def _is_from_here(self, form: Mapping[str, str]) -> bool:
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://").removeprefix("https://") != self.headers["Host"]:
            return False
        if self._has_header_token:  # which no page but its own script can send
            return True
        given = form.get("csrf", "")
        return bool(self._visitor) and hmac.compare_digest(
            given.encode(), self.server.door.proof(self._visitor).encode()
        )

    def _post(self) -> Reply:
        form = self._form()
        if not self._is_from_here(form):
            return self._told(HTTPStatus.FORBIDDEN, "This form is not from here, or too old. Go back and reload.")
        path, door = self._path, self.server.door
        if path == "/sign-in":
            return self._sign_in(form)
        if path == "/sign-out":
            door.dismiss(self._visitor)
            return redirect("/", self._cookie(secrets.token_urlsafe(24)))
        if path.startswith("/do/"):
            return self._change(path.removeprefix("/do/"), form)
        if path == "/fsck":
            return self._fsck(form)
        head, _, rest = path.removeprefix("/").partition("/")
        if head == "jobs" and rest:
            job_id = identifier(rest)
            with self.server.source.session() as session:
                view = self._view(session, form)
                return self._page(_details.job(view, self.server.source, job_id), view)
        if path in PAGES or head in THINGS:
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, "405\n", "text/plain", (("Allow", "GET, HEAD"),))
        raise Missing("There is no such page.")

    def _sign_in(self, form: Mapping[str, str]) -> Reply:
        if not self.server.door.is_token(form.get("token", "").strip()):
            return self._page(_sign_in("That is not the token.", self._proof()), None, HTTPStatus.UNAUTHORIZED)
        return redirect("/", self._cookie(self.server.door.admit()))

    def _fsck(self, form: Mapping[str, str]) -> Reply:
        if not self.server.fsck_turn.acquire(blocking=False):
            return self._told(HTTPStatus.CONFLICT, "Somebody is examining it already.")
        try:
            with self.server.source.session(FSCK_SECONDS) as session:
                view = self._view(session, form)
                return self._page(_lists.fsck(view, self.server.source), view)
        finally:
            self.server.fsck_turn.release()

    def _change(self, verb: str, form: Mapping[str, str]) -> Reply:
        if verb not in CHANGES:
            raise Missing("There is no such change.")
        if not self.server.settings.allow_changes:
            return self._told(HTTPStatus.FORBIDDEN, "This page is read only.", "Start it with --allow-mutations.")
        if not self._is_known:
            return self._told(HTTPStatus.UNAUTHORIZED, "Sign in first, with the token that was printed at the start.")
        change = CHANGES[verb](form)
        with self.server.source.session() as session:
            done = session.write(change.call)
        if self._visitor:
            self.server.door.say(self._visitor, change.said(done))
        return redirect(change.back)

    # answering

    def _send(self, reply: Reply) -> None:
        content = reply.content.encode() if isinstance(reply.content, str) else reply.content
        self.close_connection = True
        self.send_response(reply.status)
        for name, value in {**HEADERS, **dict(reply.headers)}.items():
            self.send_header(name, value)
        if reply.status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        logger.info("web: %s %s %d", self.command, visible(self.path.partition("?")[0][:200]), reply.status)


def _pairs(words: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(words, keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError:
        raise BadRequest(f"At most {FIELDS} fields, in UTF-8.") from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise BadRequest("A field was given twice.")
    if any("\0" in value for _, value in pairs):
        raise BadRequest("There is no NUL in any of our words.")
    return dict(pairs)


def _schema_words(error: psycopg.Error) -> tuple[str, str | None]:
    if error.sqlstate in ("3F000", "42883", "42P01", "42703", "42704"):
        return "The schema is not installed here, or is not as new as this program.", "runledger migrate --check tells."
    return f"The database refused: {brief(error)}.", None


def _sign_in(words: str, proof: str) -> Page:
    form = el(
        "form",
        el("input", type_="hidden", name="csrf", value=proof),
        el(
            "label",
            el("span", "Token"),
            el(
                "input",
                name="token",
                type_="password",
                required=True,
                maxlength=300,
                autocomplete="current-password",
                id="token",
            ),
        ),
        el("button", "Sign in", type_="submit", cls="primary"),
        method="post",
        action="/sign-in",
        id="sign-in",
        cls="filters",
    )
    told = el("p", words, cls="verdict bad") if words else None
    return Page(
        "Sign in",
        [
            section(
                "Sign in",
                note("The token was printed when the server was started."),
                told,
                form,
                id_="sign",
                level="h1",
            )
        ],
        refresh=0,
    )


__all__ = ["Server", "Settings"]
