"""The server: models loaded, the application guarded, granian in front of it, and a graceful end."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from tinytale.addons.serve.app import make_app
from tinytale.addons.serve.asking import Served
from tinytale.addons.serve.guard import LOOPBACK, Guard
from tinytale.addons.serve.own_thread import apart
from tinytale.addons.serve.scheduler import Scheduler
from tinytale.addons.serve.telling import SEND_SECONDS
from tinytale.config import DecoderKind
from tinytale.errors import TaleError
from tinytale.generation.choosing import choice_for
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Decoding
from tinytale.storyteller import Storyteller, load_storyteller

HEADER_SECONDS = 10
"""A request whose headers have not arrived by then is given up."""
SWITCH_SECONDS = 0.0005
"""For so long may requests keep the interpreter from a decoder that wants it: a tenth of Python's default."""
GRACE_SECONDS = 10.0
"""Stories at hand may go on for so long after the server has been asked to stop."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Where to listen, and for how many."""

    host: str
    port: int
    key: str | None
    slots: int
    """Stories told at once by each model."""
    waiting_room: int
    """Stories that may wait for a slot."""


def load(
    folders: dict[str, Path], settings: ServerSettings, device: str, decoder: DecoderKind = "auto"
) -> dict[str, Served]:
    """Load the models, each with a decoder of its own.

    Raises:
        TaleError: a folder is damaged.
    """
    models = {}
    for name, folder in folders.items():
        teller, made = apart(lambda folder=folder: _teller_and_decoder(folder, device, settings.slots, decoder))
        scheduler = Scheduler(made, teller.tokenizer.end_of_text, settings.waiting_room)
        models[name] = Served(name, folder, teller.tokenizer, scheduler, teller.model)
    return models


def _teller_and_decoder(folder: Path, device: str, slots: int, kind: DecoderKind) -> tuple[Storyteller, Decoder]:
    teller = load_storyteller(folder, device, decoder=kind)
    choice_for(Decoding())  # what draws is built now, not while the first request waits
    return teller, teller.decoder(slots)


async def serve_models(models: dict[str, Served], settings: ServerSettings) -> None:
    """Serve until SIGINT or SIGTERM; then refuse what is new, let what runs end, and return."""
    sys.setswitchinterval(SWITCH_SECONDS)
    hosts = frozenset(LOOPBACK) if settings.host in LOOPBACK else frozenset()
    server = Server(
        Guard(make_app(models), hosts, settings.key),
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000),
    )
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            loop.add_signal_handler(number, stopping.set)
    running = asyncio.create_task(server.serve())
    watching = asyncio.create_task(_drop_deaf_clients(settings.port))
    await asyncio.wait([running, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    await asyncio.gather(*(asyncio.to_thread(model.scheduler.close, GRACE_SECONDS) for model in models.values()))
    if not running.done():
        server.stop()
    try:
        await running
    except RuntimeError as error:
        raise TaleError(f"the server has ended: {str(error).splitlines()[0]}") from error


async def _drop_deaf_clients(port: int) -> None:
    """As soon as the server listens: let the system close a connection whose client takes nothing any more (Linux).

    Granian has no such limit, and does not tell its sockets; connections inherit it from the one that listens.
    """
    while hasattr(socket, "TCP_USER_TIMEOUT"):
        for connection in psutil.Process().net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                with socket.socket(fileno=os.dup(connection.fd)) as listening:
                    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * SEND_SECONDS))
                return
        await asyncio.sleep(0)  # at once when it listens: who is connected by then keeps his connection unlimited
