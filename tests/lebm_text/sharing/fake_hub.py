"""What `huggingface_hub` asks of the Hub, on this machine: repositories made, written by commits, listed and read."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from huggingface_hub import constants

import lebm_text.sharing.hub
from lebm_text.text import fetching

__all__ = ["FakeHub", "Repository", "fake_hub", "silent_hub"]

USERS = {"hf_ann": "ann", "hf_bob": "bob"}  # token → user


@dataclass
class Repository:
    """A model: its files as they are now."""

    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs\n"})

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()

    @property
    def metadata(self) -> dict[str, Any]:
        parts = self.files.get("README.md", b"").decode().split("---\n")
        return dict(yaml.safe_load(parts[1])) if len(parts) > 2 else {}


@dataclass
class FakeHub:
    """The server's address, what it holds, and what it was asked: (method, path)."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A server on this machine until the block ends."""
    hub = FakeHub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Hub that takes connections and never answers, for 0.2 seconds instead of the usual time."""
    with socket.create_server(("127.0.0.1", 0)) as server, monkeypatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            patch.delenv(name, raising=False)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        for module in (fetching, lebm_text.sharing.hub):
            patch.setattr(module, "HUB_WAIT", 0.2)
        yield


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    state: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def _answer(self, respond: Any) -> None:
        path = urlsplit(self.path).path
        self.state.asked.append((self.command, path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers: dict[str, str] = {}
        try:
            status, (content, headers) = 200, respond(path, body)
        except _Refused as refused:
            status, content, headers = (
                refused.status,
                b"",
                {"X-Error-Code": refused.code, "X-Error-Message": str(refused)},
            )
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
            headers = {"Content-Type": "application/json", **headers}
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def _user(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in USERS:
            raise _Refused(401, message="Invalid credentials in Authorization header")
        return USERS.get(token)

    def _repository(self, name: str, *, write: bool = False) -> Repository:
        found, user, owner = self.state.repositories.get(name), self._user, name.partition("/")[0]
        if found is None or (found.private and user != owner):
            raise _Refused(404 if user else 401, "RepoNotFound", "Repository not found")
        if write and user != owner:
            raise _Refused(403, message="you have not the rights")
        return found

    def _get(self, path: str, _body: bytes) -> tuple[Any, dict[str, str]]:
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name = "/".join(parts[2:4])
            found = self._repository(name)
            if parts[4:5] == ["tree"]:
                return [_entry(each, content) for each, content in found.files.items()], {}
            files = [{"rfilename": each} for each in found.files]
            metadata = {"library_name": found.metadata.get("library_name"), "tags": found.metadata.get("tags", [])}
            return {"id": name, "sha": found.sha, "private": found.private, "siblings": files, **metadata}, {}
        if parts[2:3] == ["resolve"]:
            found = self._repository("/".join(parts[:2]))
            if (file := "/".join(parts[4:])) not in found.files:
                raise _Refused(404, "EntryNotFound", "Entry not found")
            content = found.files[file]
            return content, {"ETag": f'"{_entry(file, content)["oid"]}"', "X-Repo-Commit": found.sha}
        raise _Refused(404, message=path)

    def _post(self, path: str, body: bytes) -> tuple[Any, dict[str, str]]:
        parts, given = path.strip("/").split("/"), [json.loads(line) for line in body.split(b"\n") if line]
        if path == "/api/validate-yaml":
            metadata = yaml.safe_load(given[0]["content"].split("---\n")[1])
            errors = [] if {"license", "library_name", "tags"} <= set(metadata) else [{"message": "incomplete"}]
            return {"errors": errors, "warnings": []}, {}
        if path == "/api/repos/create":
            return self._create(given[0]), {}
        if path.endswith(".git/info/lfs/objects/batch"):
            href = f"{self.state.url}/upload"
            objects = [
                {**each, "actions": {"upload": {"href": f"{href}/{each['oid']}"}}} for each in given[0]["objects"]
            ]
            return {"objects": objects, "transfer": "basic"}, {}
        found = self._repository("/".join(parts[2:4]), write=True)
        if parts[4] == "preupload":
            modes = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for each in given[0]["files"]
            ]
            return {"files": modes}, {}
        for each in given:
            value = each["value"]
            if each["key"] == "file":
                found.files[value["path"]] = base64.b64decode(value["content"])
            elif each["key"] == "lfsFile":
                found.files[value["path"]] = self.state.uploads[value["oid"]]
            elif each["key"] == "deletedFile":
                del found.files[value["path"]]
        return {"commitUrl": f"{self.state.url}/{'/'.join(parts[2:4])}/commit/{found.sha}", "commitOid": found.sha}, {}

    def _create(self, asked: dict[str, Any]) -> dict[str, str]:
        name, user = f"{asked['organization']}/{asked['name']}", self._user
        if user is None:
            raise _Refused(401, message="Invalid username or password.")
        if user != asked["organization"]:
            raise _Refused(403, message="you have not the rights")
        assert name not in self.state.repositories
        self.state.repositories[name] = Repository(private=asked.get("visibility", "public") == "private")
        return {"url": f"{self.state.url}/{name}"}

    def _put(self, path: str, body: bytes) -> tuple[Any, dict[str, str]]:
        self.state.uploads[path.rpartition("/")[2]] = body
        return b"", {}


def _entry(path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": oid}
    if path.endswith(".safetensors"):
        sha256 = hashlib.sha256(content).hexdigest()
        entry |= {"oid": sha256, "lfs": {"oid": sha256, "size": len(content), "pointerSize": 130}}
    return entry
