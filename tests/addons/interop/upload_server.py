"""A stand-in for the Hugging Face Hub on this machine: as much of its API as the official client uses to upload.

Small text files arrive inside the commit, the others by Git LFS beforehand. It offers no Xet.
"""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

IN_GIT = (".json", ".md", ".toml", ".txt")
IN_GIT_LIMIT = 10_000_000


@dataclass
class Repository:
    """Branches, each with its files, and the messages of its commits."""

    private: bool = False
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    messages: list[str] = field(default_factory=list)


class UploadServer:
    """The stand-in, serving from the start of a `with` block to its end.

    Switches:
        errors: beginning of a path -> status that is answered there.
        owners: who may be written to with the token.
    """

    token = "hf_stand_in"

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.errors: dict[str, int] = {}
        self.owners = {"owner"}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """Routes of the Hub."""

    hub: UploadServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(path)
        parts = path.strip("/").split("/")
        refused = next((status for start, status in self.hub.errors.items() if path.startswith(start)), None)
        if refused:
            self.send(refused, {"error": "as the switch says"})
        elif parts[0] == "storage":  # as at the Hub, elsewhere: no token
            assert hashlib.sha256(body).hexdigest() == parts[1]
            self.hub.blobs[parts[1]] = body
            self.send(200, {})
        elif self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self.send(401, {"error": "Invalid credentials in Authorization header"})
        elif path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.send(200, {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.batch(json.loads(body))
        elif parts[:2] == ["api", "models"] and (repository := self.hub.repositories.get("/".join(parts[2:4]))):
            self.model(repository, parts[4:], body)
        else:
            self.send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] not in self.hub.owners:
            self.send(403, {"error": "You don't have the rights to create a model under this namespace"})
        elif name in self.hub.repositories:
            self.send(409, {"url": f"{self.hub.url}/{name}"})
        else:
            self.hub.repositories[name] = Repository(private=asked.get("visibility") == "private")
            self.send(200, {"url": f"{self.hub.url}/{name}"})

    def batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for each in asked["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/storage/{each['oid']}"}}
            objects.append(each | ({} if each["oid"] in self.hub.blobs else {"actions": upload}))
        self.send(200, {"transfer": "basic", "objects": objects})

    def model(self, repository: Repository, rest: list[str], body: bytes) -> None:
        match rest:
            case []:
                self.send(200, {"id": "owner/name", "private": repository.private, "tags": [], "siblings": []})
            case ["branch", branch]:
                known = branch in repository.branches
                repository.branches.setdefault(branch, dict(repository.branches["main"]))
                self.send(409 if known else 200, {})
            case ["preupload", branch] if branch in repository.branches:
                files = json.loads(body)["files"]
                modes = {f["path"]: f["path"].endswith(IN_GIT) and f["size"] < IN_GIT_LIMIT for f in files}
                answer = [
                    {"path": path, "uploadMode": "regular" if small else "lfs", "shouldIgnore": False}
                    for path, small in modes.items()
                ]
                self.send(200, {"files": answer})
            case ["commit", branch] if branch in repository.branches:
                for line in map(json.loads, body.splitlines()):
                    value = line["value"]
                    if line["key"] == "header":
                        repository.messages.append(value["summary"])
                    elif line["key"] == "file":
                        repository.branches[branch][value["path"]] = base64.b64decode(value["content"])
                    elif line["key"] == "lfsFile":
                        repository.branches[branch][value["path"]] = self.hub.blobs[value["oid"]]
                self.send(200, {"commitUrl": f"{self.hub.url}/owner/name/commit/{'0' * 40}", "commitOid": "0" * 40})
            case _:
                self.send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})

    def send(self, status: int, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
