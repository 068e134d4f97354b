"""A stand-in for the Hugging Face Hub on this machine: as much of its API as the official client uses for data sets.

Like the real one it keeps small text files in git (ETag: git's SHA-1, served in place) and the others in LFS (ETag:
SHA-256, sent on to a second server, as the Hub sends to its CDN), knows commits and branches, and answers ranges with
206. It offers no Xet. Its switches are plain attributes, to be set between requests.
"""

import contextlib
import hashlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit

IN_GIT = (".txt", ".md", ".yaml", ".jsonl", ".gitattributes")
IN_GIT_LIMIT = 10_000


@dataclass
class Repository:
    """Commits (hash -> path -> content) and branches (name -> hash) of one data set."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One request that was answered."""

    method: str
    path: str
    range: str | None
    authorised: bool


class HubServer:
    """The stand-in, serving from the start of a `with` block to its end.

    Switches:
        cuts: how many of the next file bodies break off after `cut_after` bytes; `reset` makes it a TCP reset.
        corrupt: how many of the next file bodies have one byte changed.
        errors: path of a file, or name of a data set -> (status, X-Error-Code), answered in place of it.
        endless: bodies go on after their last byte, in pieces of no said length, until the client hangs up.
        gated: data sets whose files need `token`, though anyone may list them.
    """

    token = "hf_stand_in"

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.cuts = 0
        self.cut_after = 0
        self.reset = False
        self.corrupt = 0
        self.errors: dict[str, tuple[int, str]] = {}
        self.endless = False
        self.gated: set[str] = set()
        handler = type("Handler", (Handler,), {"hub": self})
        self._servers = [Server(("127.0.0.1", 0), handler) for _ in range(2)]
        self.url, self.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)

    def __enter__(self) -> Self:
        self._threads = [
            threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.02}) for s in self._servers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def commit(self, repo: str, files: dict[str, bytes], branch: str = "main", name: str | None = None) -> str:
        """Make `files` the content of a branch; returns the commit's hash (`name`, if given)."""
        repository = self.repositories.setdefault(repo, Repository())
        parent = repository.branches.get(branch, "")
        tree = sorted((path, git_sha1(content)) for path, content in files.items())
        commit = name or hashlib.sha1(f"{parent} {tree}".encode()).hexdigest()
        repository.commits[commit] = dict(files)
        repository.branches[branch] = commit
        self.blobs.update((hashlib.sha256(content).hexdigest(), content) for content in files.values())
        return commit

    def bodies(self) -> list[Request]:
        """The requests for the content of files."""
        return [r for r in self.requests if r.method == "GET" and ("/resolve/" in r.path or r.path.startswith("/cdn/"))]

    def lists(self) -> list[Request]:
        """The requests for lists of files."""
        return [r for r in self.requests if r.path.startswith("/api/datasets/")]


def git_sha1(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def in_git(path: str, content: bytes) -> bool:
    return path.endswith(IN_GIT) and len(content) < IN_GIT_LIMIT


class Server(ThreadingHTTPServer):
    """Does not report connections that the client or a switch broke."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    """Routes of the Hub and of its CDN."""

    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        authorised = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        self.hub.requests.append(Request(self.command, path, self.headers.get("Range"), authorised))
        parts = path.strip("/").split("/")
        if path.startswith("/cdn/"):
            assert self.headers.get("Authorization") is None, "a token left the Hub"
            content = self.hub.blobs[parts[1]]
            self.send_content(content, {"ETag": f'"{parts[1]}"'})
        elif path.startswith("/api/datasets/"):
            self.answer_list("/".join(parts[2:4]), parts[4:])
        elif path.startswith("/datasets/") and len(parts) > 5 and parts[3] == "resolve":
            revision = unquote(urlsplit(self.path).path.strip("/").split("/")[4])
            self.answer_file("/".join(parts[1:3]), unquote(revision), "/".join(parts[5:]), authorised)
        else:
            self.refuse(404, "")

    def answer_list(self, repo: str, rest: list[str]) -> None:
        """`/api/datasets/OWNER/NAME[/revision/REV]`, and `/tree/REV`."""
        if repo in self.hub.errors:
            return self.refuse(*self.hub.errors[repo])
        repository = self.hub.repositories.get(repo)
        if repository is None:
            return self.refuse(401, "RepoNotFound")
        revision = "/".join(rest[1:]) or "main"
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self.refuse(404, "RevisionNotFound")
        as_tree = rest[:1] == ["tree"]
        entries = []
        for path, content in repository.commits[commit].items():
            sha256 = hashlib.sha256(content).hexdigest()
            size, blob = len(content), git_sha1(content)
            lfs = None if in_git(path, content) else {"size": size, "pointerSize": 134}
            if as_tree:
                entry = {"type": "file", "path": path, "size": size, "oid": blob}
                entries.append(entry | ({"lfs": lfs | {"oid": sha256}} if lfs else {}))
            else:
                entry = {"rfilename": path, "size": size, "blobId": blob}
                entries.append(entry | ({"lfs": lfs | {"sha256": sha256}} if lfs else {}))
        answer = entries if as_tree else {"id": repo, "sha": commit, "private": False, "tags": [], "siblings": entries}
        self.send_whole(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def answer_file(self, repo: str, revision: str, path: str, authorised: bool) -> None:
        """`/datasets/OWNER/NAME/resolve/REV/PATH`."""
        if path in self.hub.errors:
            return self.refuse(*self.hub.errors[path])
        repository = self.hub.repositories.get(repo)
        if repository is None:
            return self.refuse(401, "RepoNotFound")
        if repo in self.hub.gated and not authorised:
            return self.refuse(401, "GatedRepo")
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self.refuse(404, "RevisionNotFound")
        content = repository.commits[commit].get(path)
        if content is None:
            return self.refuse(404, "EntryNotFound")
        if in_git(path, content):
            return self.send_content(content, {"ETag": f'"{git_sha1(content)}"', "X-Repo-Commit": commit})
        sha256 = hashlib.sha256(content).hexdigest()
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{sha256}"',
            "Location": f"{self.hub.cdn}/cdn/{sha256}",
        }
        return self.send_whole(302, headers, b"")

    def send_content(self, content: bytes, headers: dict[str, str]) -> None:
        """A file, or the range asked for; with the cuts and wrong bytes that the switches want."""
        status, asked, size = 200, self.headers.get("Range"), len(content)
        headers = headers | {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if self.command == "GET" and self.hub.corrupt > 0:
            self.hub.corrupt -= 1
            content = content[: size // 2] + bytes([content[size // 2] ^ 1]) + content[size // 2 + 1 :]
        if asked:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            status, content = 206, content[start:]
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        if self.command == "GET" and self.hub.cuts > 0:
            self.hub.cuts -= 1
            self.send_whole(status, headers, content, self.hub.cut_after)
            self.break_off()
        elif self.command == "GET" and self.hub.endless:
            self.send_on(headers, content)
        else:
            self.send_whole(status, headers, content)

    def send_whole(self, status: int, headers: dict[str, str], body: bytes, limit: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:limit])
            self.wfile.flush()

    def send_on(self, headers: dict[str, str], body: bytes) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
            while self.hub.endless:
                self.wfile.write(b"1\r\nx\r\n")
                threading.Event().wait(0.002)

    def refuse(self, status: int, code: str) -> None:
        self.send_whole(status, {"X-Error-Code": code, "X-Error-Message": code} if code else {}, b"")

    def break_off(self) -> None:
        """End the connection in the middle of a body: in order (FIN), or by a reset."""
        self.close_connection = True
        if self.hub.reset:
            threading.Event().wait(0.1)  # a reset overtakes what was sent before it
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
