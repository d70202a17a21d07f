"""A small Hub on this machine, for tests: the endpoints that huggingface_hub 2.4 calls to publish a dataset.

Uploads are checked against their SHA-256, commits against their parent. Faults are injected by call; what was asked,
how many bytes came and what main is are recorded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

TOKEN = "hf_FakeTokenForTestsOnly0123456789abcdef"


def git_id(content: bytes) -> str:
    """Git's id of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A file of a commit; ``sha256`` is set for large files, whose content lies in the store."""

    content: bytes
    sha256: str | None = None

    @property
    def oid(self) -> str:
        """What the tree calls ``oid``: the content's id, or that of the pointer."""
        if self.sha256 is None:
            return git_id(self.content)
        size = len(self.content)
        return git_id(f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {size}\n".encode())


@dataclass
class Repo:
    """Commits (files by path), refs to them, pull requests."""

    private: bool
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)

    def commit(self, files: dict[str, Blob], revision: str) -> str:
        """Record a commit on a branch or pull request."""
        oid = hashlib.sha1(f"{len(self.commits)} {revision}".encode()).hexdigest()
        self.commits[oid] = files
        self.branches[revision] = oid
        self.log.append((revision, oid))
        return oid

    def files(self, revision: str) -> dict[str, Blob] | None:
        """Files of a branch, tag, pull request or commit."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(oid)


@dataclass
class Fault:
    """Answer the calls that match with a status, or cut the connection; from call ``first`` on, ``times`` times."""

    match: str
    status: int = 0
    first: int = 1
    times: int = 1
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: str = ""  # "before": half of the body is read; "after": the work is done, the answer never comes
    also: Any = None  # called when the fault strikes
    seen: int = 0

    def strikes(self, call: str) -> bool:
        """Count a call; tell whether the fault is due."""
        if not re.search(self.match, call):
            return False
        self.seen += 1
        return self.first <= self.seen < self.first + self.times


class RefusedError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class FakeHub:
    """The server; use as a context manager.

    Args:
        role: of the token.
        part_bytes: large files go up in parts of this size, if set.
        page: files on one page of a tree.
    """

    def __init__(self, role: str = "write", part_bytes: int = 0, page: int = 3) -> None:
        self.role, self.part_bytes, self.page = role, part_bytes, page
        self.repos: dict[str, Repo] = {}
        self.store: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self.whole: Counter[str] = Counter()  # bytes that came for each large file or part, in whole requests
        self.lost = 0  # bytes that came in requests that were cut
        self.lock = threading.RLock()
        hub = self

        class Handler(_Handler):
            fake = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_repo(self, name: str, private: bool = False, files: dict[str, bytes] | None = None) -> Repo:
        """Make a repository whose main holds files."""
        repo = Repo(private)
        blobs = {path: self._blob(path, content) for path, content in (files or {}).items()}
        repo.commit({".gitattributes": Blob(b"*.parquet filter=lfs\n"), **blobs}, "main")
        repo.log.clear()
        self.repos[name] = repo
        return repo

    def _blob(self, path: str, content: bytes) -> Blob:
        if not is_large(path, len(content)):
            return Blob(content)
        sha256 = hashlib.sha256(content).hexdigest()
        self.store[sha256] = content
        return Blob(content, sha256)

    def sent_twice(self) -> int:
        """Bytes that came beyond one whole copy of each large file."""
        return sum(max(0, count - len(self.store.get(oid, b""))) for oid, count in self.whole.items())

    def commits_on_main(self) -> int:
        """Commits that landed on main of any repository."""
        return sum(revision == "main" for repo in self.repos.values() for revision, _ in repo.log)


def is_large(path: str, size: int) -> bool:
    """Whether the Hub keeps a file as LFS."""
    return path.endswith((".parquet", ".png", ".jpg")) or size > 10_000_000


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer in one packet: two would wait 40 ms for each other
    disable_nagle_algorithm = True
    fake: FakeHub

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        call = f"{self.command} {unquote(urlsplit(self.path).path)}"
        with self.fake.lock:
            self.fake.calls.append(call)
            struck = [each for each in self.fake.faults if each.strikes(call)]  # all of them count the call
            fault = struck[0] if struck else None
            if fault is not None and fault.also is not None:
                fault.also()
        if fault is not None and fault.cut == "before":
            self.fake.lost += len(self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2))
            return self._hang_up()
        body = self._body()
        if fault is not None and fault.status:
            return self._answer(fault.status, {"error": fault.message}, fault.headers)
        try:
            with self.fake.lock:
                answer, headers = self._route(call, body)
        except RefusedError as error:
            return self._answer(error.status, {"error": error.message}, {"X-Error-Code": error.code})
        if fault is not None and fault.cut == "after":
            return self._hang_up()
        return self._answer(206 if "Content-Range" in headers else 200, answer, headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _hang_up(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.rfile.close()

    def _answer(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        stated = {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
        for name, value in stated.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _route(self, call: str, body: bytes) -> tuple[Any, dict[str, str]]:
        signed = call.startswith(("PUT /store/", "POST /complete/"))  # the address itself is the permission
        if not signed and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RefusedError(401, "Invalid username or password.")
        for pattern, name in _ROUTES:
            path = urlsplit(self.path).path
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                groups = [unquote(group) for group in found.groups()]
                answer = getattr(self, name)(*groups, body)
                return answer if isinstance(answer, tuple) else (answer, {})
        raise RefusedError(404, f"no such endpoint: {call}")

    def _repo(self, name: str) -> Repo:
        if name not in self.fake.repos:
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        return self.fake.repos[name]

    def _files(self, name: str, revision: str) -> dict[str, Blob]:
        files = self._repo(name).files(revision)
        if files is None:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return files

    # account and repository

    def whoami(self, _body: bytes) -> Any:
        return {"name": "user", "type": "user", "auth": {"accessToken": {"role": self.fake.role}}}

    def create(self, body: bytes) -> Any:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.fake.repos:
            raise RefusedError(409, "You already created this dataset repo")
        self.fake.add_repo(name, asked.get("visibility") == "private" or bool(asked.get("private")))
        return {"url": f"{self.fake.url}/datasets/{name}"}

    def info(self, name: str, _body: bytes) -> Any:
        return self.revision(name, "main", b"")

    def revision(self, name: str, revision: str, _body: bytes) -> Any:
        repo = self._repo(name)
        self._files(name, revision)
        sha = repo.branches.get(revision) or repo.tags.get(revision) or revision
        return {"id": name, "sha": sha, "private": repo.private, "tags": [], "downloads": 0, "likes": 0}

    def refs(self, name: str, _body: bytes) -> Any:
        repo = self._repo(name)
        branches = {each: oid for each, oid in repo.branches.items() if not each.startswith("refs/")}
        return {
            "branches": [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": o} for n, o in branches.items()],
            "converts": [],
            "tags": [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": o} for n, o in repo.tags.items()],
        }

    def start_branch(self, name: str, branch: str, body: bytes) -> Any:
        repo = self._repo(name)
        if branch in repo.branches:
            raise RefusedError(409, "Reference already exists")
        start = json.loads(body).get("startingPoint", "main")
        repo.branches[branch] = repo.branches.get(start, start)
        return {}

    def drop_branch(self, name: str, branch: str, _body: bytes) -> Any:
        if branch == "main" or self._repo(name).branches.pop(branch, None) is None:
            raise RefusedError(404, "no such branch", "RevisionNotFound")
        return {}

    def tag(self, name: str, revision: str, body: bytes) -> Any:
        repo, tag = self._repo(name), json.loads(body)["tag"]
        if tag in repo.tags:
            raise RefusedError(409, "Tag already exists")
        self._files(name, revision)
        repo.tags[tag] = repo.branches.get(revision, revision)
        return {}

    # files

    def tree(self, name: str, revision: str, _body: bytes) -> Any:
        return self.subtree(name, revision, "", b"")

    def subtree(self, name: str, revision: str, folder: str, _body: bytes) -> Any:
        query = parse_qs(urlsplit(self.path).query)
        prefix = f"{folder}/" if folder else ""
        found = {path: blob for path, blob in self._files(name, revision).items() if path.startswith(prefix)}
        listed = [_info(path, blob) for path, blob in sorted(found.items())]
        if query.get("recursive", ["false"])[0].lower() != "true":
            inside = {path[len(prefix) :].partition("/") for path in found}
            folders = sorted({f"{prefix}{first}" for first, slash, _ in inside if slash})
            listed = [each for each in listed if "/" not in each["path"][len(prefix) :]]
            listed += [{"type": "directory", "path": path, "oid": git_id(path.encode())} for path in folders]
        start = int(query.get("cursor", ["0"])[0])
        stop = start + self.fake.page
        query_next = urlencode({**{key: value[0] for key, value in query.items()}, "cursor": stop})
        link = {"Link": f'<{self.fake.url}{urlsplit(self.path).path}?{query_next}>; rel="next"'}
        return listed[start:stop], link if stop < len(listed) else {}

    def paths_info(self, name: str, revision: str, body: bytes) -> Any:
        asked = parse_qs(body.decode()).get("paths", [])
        files = self._files(name, revision)
        return [_info(path, files[path]) for path in asked if path in files]

    def resolve(self, name: str, revision: str, path: str, _body: bytes) -> Any:
        blob = self._files(name, revision).get(path)
        if blob is None:
            raise RefusedError(404, "Entry not found", "EntryNotFound")
        repo = self._repo(name)
        headers = {"ETag": f'"{blob.sha256 or blob.oid}"', "X-Repo-Commit": repo.branches.get(revision, revision)}
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(found[1]), min(int(found[2] or len(blob.content)), len(blob.content) - 1)
            return blob.content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/*"}
        return blob.content, {**headers, "Content-Type": "application/octet-stream"}

    def validate_yaml(self, _body: bytes) -> Any:
        return {"errors": [], "warnings": []}

    def preupload(self, name: str, revision: str, body: bytes) -> Any:
        files = self._files(name, revision)
        told = []
        for each in json.loads(body)["files"]:
            there = files.get(each["path"])
            oid = (there.sha256 or there.oid) if there else None
            mode = "lfs" if is_large(each["path"], each["size"]) else "regular"
            told.append({"path": each["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": told}

    def batch(self, name: str, body: bytes) -> Any:
        self._repo(name)
        return {"transfer": "basic", "objects": [self._object(each) for each in json.loads(body)["objects"]]}

    def _object(self, asked: dict[str, Any]) -> dict[str, Any]:
        oid, size, part = asked["oid"], asked["size"], self.fake.part_bytes
        if oid in self.fake.store:
            return {"oid": oid, "size": size}
        upload: dict[str, Any] = {"href": f"{self.fake.url}/store/{oid}"}
        if part:
            count = -(-size // part)
            urls = {f"{n:05d}": f"{self.fake.url}/store/{oid}/{n}" for n in range(1, count + 1)}
            upload = {"href": f"{self.fake.url}/complete/{oid}", "header": {"chunk_size": str(part), **urls}}
        verify = {"href": f"{self.fake.url}/verify/{oid}"}
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}

    def put(self, oid: str, body: bytes) -> Any:
        if hashlib.sha256(body).hexdigest() != oid:
            raise RefusedError(400, "the content is not that of its SHA-256")
        self.fake.store[oid] = body
        self.fake.whole[oid] += len(body)
        return {}

    def put_part(self, oid: str, number: str, body: bytes) -> Any:
        self.fake.parts.setdefault(oid, {})[int(number)] = body
        return {}, {"ETag": hashlib.md5(body).hexdigest()}

    def complete(self, oid: str, body: bytes) -> Any:
        parts = self.fake.parts.pop(oid)
        if [part["partNumber"] for part in json.loads(body)["parts"]] != sorted(parts):
            raise RefusedError(400, "parts are missing")
        return self.put(oid, b"".join(parts[number] for number in sorted(parts)))

    def verify(self, oid: str, body: bytes) -> Any:
        if len(self.fake.store.get(oid, b"")) != json.loads(body)["size"]:
            raise RefusedError(422, "the size differs")
        return {}

    def commit(self, name: str, revision: str, body: bytes) -> Any:
        repo, files = self._repo(name), dict(self._files(name, revision))
        for line in body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "header":
                if value.get("parentCommit", repo.branches[revision]) != repo.branches[revision]:
                    raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
            elif operation["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]))
            elif operation["key"] == "lfsFile":
                if value["oid"] not in self.fake.store:
                    raise RefusedError(400, f"the large file of '{value['path']}' was never uploaded")
                files[value["path"]] = Blob(self.fake.store[value["oid"]], value["oid"])
            elif files.pop(value["path"], None) is None:
                raise RefusedError(404, "A file with this name doesn't exist", "EntryNotFound")
        oid = repo.commit(files, revision)
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.fake.url}/datasets/{name}/commit/{oid}"}

    # pull requests

    def list_requests(self, name: str, _body: bytes) -> Any:
        listed = self._repo(name).requests
        return {"count": len(listed), "start": 0, "discussions": listed}

    def show_request(self, name: str, number: str, _body: bytes) -> Any:
        return self._repo(name).requests[int(number) - 1]

    def open_request(self, name: str, body: bytes) -> Any:
        repo, asked = self._repo(name), json.loads(body)
        number = len(repo.requests) + 1
        repo.branches[f"refs/pr/{number}"] = repo.branches["main"]
        repo.requests.append(
            {
                "num": number,
                "title": asked["title"],
                "author": {"name": "user"},
                "createdAt": "2026-01-01T00:00:00.000Z",
                "status": "draft",
                "repo": {"name": name, "type": "dataset"},
                "isPullRequest": asked["pullRequest"],
                "events": [],
                "changes": {"base": "refs/heads/main"},
                "filesWithConflicts": [],
            }
        )
        return {"num": number}

    def set_status(self, name: str, number: str, body: bytes) -> Any:
        status = json.loads(body)["status"]
        self._repo(name).requests[int(number) - 1]["status"] = status
        event = {
            "id": "1",
            "type": "status-change",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "author": {"name": "user"},
        }
        return {"newStatus": {**event, "data": {"status": status}}}

    def merge(self, name: str, number: str, _body: bytes) -> Any:
        repo = self._repo(name)
        repo.commit(repo.commits[repo.branches[f"refs/pr/{number}"]], "main")
        repo.requests[int(number) - 1]["status"] = "merged"
        return {}


def _info(path: str, blob: Blob) -> dict[str, Any]:
    info = {"type": "file", "path": path, "size": len(blob.content), "oid": blob.oid}
    if blob.sha256:
        info["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": 130}
    return info


_NAME = r"/api/datasets/([^/]+/[^/]+)"
_ROUTES = (
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "validate_yaml"),
    (rf"GET {_NAME}", "info"),
    (rf"GET {_NAME}/revision/([^/]+)", "revision"),
    (rf"GET {_NAME}/refs", "refs"),
    (rf"POST {_NAME}/branch/([^/]+)", "start_branch"),
    (rf"DELETE {_NAME}/branch/([^/]+)", "drop_branch"),
    (rf"POST {_NAME}/tag/([^/]+)", "tag"),
    (rf"GET {_NAME}/tree/([^/]+)", "tree"),
    (rf"GET {_NAME}/tree/([^/]+)/([^/]+)", "subtree"),
    (rf"POST {_NAME}/paths-info/([^/]+)", "paths_info"),
    (rf"POST {_NAME}/preupload/([^/]+)", "preupload"),
    (rf"POST {_NAME}/commit/([^/]+)", "commit"),
    (rf"GET {_NAME}/discussions", "list_requests"),
    (rf"POST {_NAME}/discussions", "open_request"),
    (rf"GET {_NAME}/discussions/(\d+)", "show_request"),
    (rf"POST {_NAME}/discussions/(\d+)/status", "set_status"),
    (rf"POST {_NAME}/discussions/(\d+)/merge", "merge"),
    (r"POST /datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
    (r"(?:GET|HEAD) /datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
    (r"PUT /store/([0-9a-f]{64})", "put"),
    (r"PUT /store/([0-9a-f]{64})/(\d+)", "put_part"),
    (r"POST /complete/([0-9a-f]{64})", "complete"),
    (r"POST /verify/([0-9a-f]{64})", "verify"),
)
