"""A hub on this machine: as much of the Hugging Face hub's API as pushing and pulling call.

Repositories live in memory. Large files go by the LFS protocol, small ones inside a commit.
Paths are those that huggingface_hub asks for.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".parquet", ".onnx")


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return hashlib.sha1(json.dumps(self.commits).encode()).hexdigest()


@dataclass
class Hub:
    """What the server knows and has seen."""

    endpoint: str = ""
    token: str = "hf_test"
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refuse_commits_after: int | None = None
    """From that many commits on it is out of order."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, content: Any = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self._body() if self.command in ("POST", "PUT") else b""
        self.hub.requests.append(f"{self.command} {path}")
        allowed = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if self.command == "PUT":
            self.hub.blobs[path.rpartition("/")[2]] = body
            return self._answer(200)
        if self.command == "POST" and not allowed:
            return self._answer(401, {"error": "Invalid credentials"})
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        found = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path)
        if found:
            return self._batch(json.loads(body))
        found = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z]+)/[^/]+)?", path)
        if found:
            kind, name, what = found.groups()
            name = name if kind == "models" else f"datasets/{name}"
        else:
            found = re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.*)", path)
            assert found, path
            name, what = found[1], "resolve"
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not allowed):
            return self._answer(404, {"error": "not found"}, X_Error_Code="RepoNotFound")
        if what == "resolve":
            return self._resolve(repository, found[3])
        self._name = name
        return getattr(self, f"_{what or 'revision'}")(repository, body)

    do_GET = do_POST = do_PUT = do_HEAD = _serve  # noqa: N815 (http.server's names)

    def _create(self, asked: dict[str, Any]) -> None:
        kind = "datasets/" if asked.get("type") == "dataset" else ""
        name = f"{kind}{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.hub.endpoint}/{name}"}
        if name in self.hub.repositories:
            return self._answer(409, url | {"error": "You already created this repo"})
        private = asked.get("visibility") == "private" or asked.get("private", False)
        self.hub.repositories[name] = Repository(private)
        return self._answer(200, url)

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for each in asked["objects"]:
            href = f"{self.hub.endpoint}/blob/{each['oid']}"
            absent = each["oid"] not in self.hub.blobs
            objects.append(each | ({"actions": {"upload": {"href": href}}} if absent else {}))
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _preupload(self, repository: Repository, body: bytes) -> None:
        files = []
        for each in json.loads(body)["files"]:
            mode = "lfs" if each["path"].endswith(LARGE) or "/c." in each["path"] else "regular"
            old = repository.files.get(each["path"])
            oid = None if old is None else _oid(each["path"], old)
            files.append(
                {"path": each["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            )
        self._answer(200, {"files": files})

    def _commit(self, repository: Repository, body: bytes) -> None:
        limit = self.hub.refuse_commits_after
        if limit is not None and len(repository.commits) >= limit:
            return self._answer(500, {"error": "out of order"})
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                repository.commits.append(value["summary"])
            elif entry["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.blobs[value["oid"]]
            elif entry["key"] == "deletedFile":
                del repository.files[value["path"]]
        url = f"{self.hub.endpoint}/{self._name}/commit/{repository.head}"
        return self._answer(200, {"commitUrl": url, "commitOid": repository.head})

    def _revision(self, repository: Repository, body: bytes) -> None:
        self._answer(200, {"id": "x/y", "sha": repository.head, "siblings": []})

    def _tree(self, repository: Repository, body: bytes) -> None:
        self._answer(
            200,
            [
                {"type": "file", "path": path, "size": len(data), "oid": _oid(path, data)}
                for path, data in sorted(repository.files.items())
            ],
        )

    def _resolve(self, repository: Repository, path: str) -> None:
        if path not in repository.files:
            return self._answer(404, {"error": "no"}, X_Error_Code="EntryNotFound")
        data = repository.files[path]
        tag = f'"{_oid(path, data)}"'
        return self._answer(200, data, ETag=tag, X_Repo_Commit=repository.head)


def _oid(path: str, data: bytes) -> str:
    """git's name of a small file; of a large one its sha256."""
    if path.endswith(LARGE) or "/c." in path:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of the loopback, until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
