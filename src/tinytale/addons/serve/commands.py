"""`tinytale serve`: a page to write with a model and to look inside it, and OpenAI's interface behind it."""

import os
import socket

from tinytale.commands.options import Device, need
from tinytale.config import DecoderKind
from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.runs import find_folder, model_folder

KEY = "TINYTALE_API_KEY"
"""The environment variable with the key."""


def serve(
    *folders: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    slots: int = 16,
    waiting: int = 64,
    device: Device = "auto",
    decoder: DecoderKind = "auto",
) -> None:
    """Open a page to write with a model and to look inside it.

    Programs ask the same server in OpenAI's terms.

    Parameters
    ----------
    folders
        Runs, GPT-2 folders or names of shipped weights; each goes by what is typed here. Default: small.
    host
        Address to listen on. Any but this machine's own needs a key in TINYTALE_API_KEY, which every request then has
        to bring.
    port
        Port to listen on.
    slots
        Stories that each model tells at once.
    waiting
        Stories that may wait for that; more are asked to come again.
    device
        Where to compute.
    decoder
        auto takes the native decoder where it runs and agrees with the model; torch is the reference, and slower.
    """
    need(["granian", "fastapi"], "serve", "the server")
    if not 0 < port < 2**16 or slots < 1 or waiting < 0:
        raise UsageError(
            f"port is {port}, slots {slots}, waiting {waiting}; expected a port below 65536, at least 1 slot"
        )
    from tinytale.addons.serve.guard import LOOPBACK, check_key

    key = os.environ.get(KEY) or None
    if host not in LOOPBACK and key is None:
        raise UsageError(
            f"host is {host}, which other machines can reach; put a key into {KEY}, and clients send it as"
            " `Authorization: Bearer KEY`"
        )
    if key is not None:
        check_key(key)
    found = {name: find_folder(name) for name in folders or ("small",)}
    for folder in found.values():
        model_folder(folder)

    _check_free(host, port)

    import asyncio

    from tinytale.addons.serve.server import ServerSettings, load, serve_models

    settings = ServerSettings(host=host, port=port, key=key, slots=slots, waiting_room=waiting)
    models = load(found, settings, device, decoder)
    reached = address_of(host)
    shown = f"[{reached}]" if ":" in reached else reached
    console.print(f"Serving {', '.join(models)} at http://{shown}:{port}  (Ctrl-C stops)")
    if key is not None:
        console.print(f"A browser asks for a user name, which can be any, and a password, which is the key in {KEY}.")
    asyncio.run(serve_models(models, settings))


def address_of(host: str) -> str:
    """What others put into their browser for a server that listens there: of every address, one that routes outside."""
    if host not in ("0.0.0.0", "::"):
        return host
    family, somewhere = (socket.AF_INET, "192.0.2.1") if host == "0.0.0.0" else (socket.AF_INET6, "2001:db8::1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as outwards:
            outwards.connect((somewhere, 9))  # which sends nothing
            return outwards.getsockname()[0]
    except OSError:  # this machine has no way outside
        return socket.gethostname()


def _check_free(host: str, port: int) -> None:
    """Before models are loaded, see that the place is free.

    Raises:
        UsageError: it cannot be had.
    """
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; give another one with --port"
        ) from error
