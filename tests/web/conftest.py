"""`serve` starts the page of the test's database; `Browser` asks it as one would, with cookies and nothing drawn."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from runledger.web import Server, Settings
from tests.support.database import Db
from tests.web.world import fill


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def html(self) -> str:
        return self.body.decode()

    @property
    def text(self) -> str:
        """What a person reads."""
        without = re.sub(r"<(head|script|style)\b.*?</\1>", " ", self.html, flags=re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", without.replace("<wbr>", ""))).split())

    @property
    def attributes(self) -> set[str]:
        """The names of all attributes, as a browser would read them."""
        found: set[str] = set()
        parser = HTMLParser()
        parser.handle_starttag = lambda _, given: found.update(name for name, _ in given)  # type: ignore[method-assign]
        parser.feed(self.html)
        return found

    @property
    def links(self) -> list[str]:
        return [unescape(href) for href in re.findall(r'href="([^"]*)"', self.html)]

    @property
    def proof(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', self.html)
        assert found, "no form here"
        return found[1]


class Browser:
    """Keeps its cookie; sends what it is told."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cookie: str | None = None

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            sent = {"Host": f"127.0.0.1:{self.server.port}", **(headers or {})}
            if self.cookie and "Cookie" not in sent:
                sent["Cookie"] = self.cookie
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            if body is not None and "Content-Length" not in sent:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            told = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()
        if "set-cookie" in told.headers:
            self.cookie = told.headers["set-cookie"].split(";")[0]
        return told

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def read(self, path: str) -> Answer:
        """A page that must be there."""
        answer = self.get(path)
        assert answer.status == 200, (path, answer.status, answer.text[:400])
        return answer

    def post(self, path: str, form: dict[str, Any], **headers: str) -> Answer:
        return self.ask(
            "POST", path, urlencode(form).encode(),
            {"Content-Type": "application/x-www-form-urlencoded", **{k.replace("_", "-"): v for k, v in headers.items()}},
        )  # fmt: skip

    def submit(self, page: str, path: str, **form: Any) -> Answer:
        """Post a form as the one on a page: with its proof."""
        return self.post(path, {"csrf": self.get(page).proof, **form})

    def sign_in(self) -> None:
        assert self.submit("/sign-in", "/sign-in", token=self.server.door.token).status == 303

    def change(self, verb: str, **form: Any) -> Answer:
        return self.submit("/fsck", f"/do/{verb}", **form)


@pytest.fixture
def serve(db: Db) -> Iterator[Callable[..., Browser]]:
    """serve(allow_changes=…, token=…) starts a page; `dsn` is another database or role."""
    opened: list[tuple[Server, threading.Thread]] = []

    def start(dsn: str | None = None, listen: str = "127.0.0.1:0", **settings: Any) -> Browser:
        server = Server(dsn or db.dsn, Settings.of(listen, **settings))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        opened.append((server, thread))
        return Browser(server)

    yield start
    for server, thread in opened:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def world(db: Db) -> SimpleNamespace:
    return fill(db)
