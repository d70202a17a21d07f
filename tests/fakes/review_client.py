"""A client of the review's server: the door's own cookie, and headers as a test asks for them."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit


class Client:
    """Speaks with one server on this machine; :meth:`enter` takes the link's cookie."""

    def __init__(self, port: int) -> None:
        self.port, self.cookie = port, ""

    def enter(self, link: str) -> tuple[int, str]:
        """Follow the link; return status and body."""
        parts = urlsplit(link)
        status, headers, body = self.ask("GET", f"{parts.path}?{parts.query}")
        if "set-cookie" in headers:
            self.cookie = headers["set-cookie"].partition(";")[0]
        return status, body.decode()

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; ``headers`` stand in for the usual ones."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        usual = {"Host": f"127.0.0.1:{self.port}", **({"Cookie": self.cookie} if self.cookie else {})}
        if body is not None:
            usual["Content-Type"] = "application/json"
        sent = {**usual, **(headers or {})}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def get(self, path: str) -> Any:
        """Return the JSON of an address; raises AssertionError if it is refused."""
        status, _, content = self.ask("GET", path)
        assert status == 200, (status, content[:300])
        return json.loads(content)

    def post(self, path: str, **values: Any) -> Any:
        """Post JSON, and return the answer's; raises AssertionError if it is refused."""
        status, _, content = self.ask("POST", path, json.dumps(values).encode())
        assert status == 200, (status, content[:300])
        return json.loads(content)
