"""Commands that run: `demo`, `serve`, `worker`, `signer`."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn

from app.cli.options import DataOption, settings_for
from app.cli.seeding import seed
from app.cli.tour import tour
from app.observability import configure_logging
from app.settings import Settings, load_settings
from app.wiring import beat, check_settings, open_services, sign_forever, signer_key

_DEMO_DATA = Path("data")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("demo")(demo)
    app.command("serve")(serve)
    app.command("worker")(worker)
    app.command("signer")(signer)


def demo(
    once: Annotated[bool, typer.Option("--once", help="Run the tour in a fresh folder, check each step, and stop.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve on; loopback only.")] = 8080,
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print one JSON object.")] = False,
) -> None:
    """Open the sample company on this computer, with one-click sign-in.

    Example: portcullis demo --port 8080
    """
    configure_logging("ERROR")
    if once:
        with _folder(data) as folder:
            settings = load_settings(data=folder, demo=True, host="127.0.0.1", port=port)
            failed = asyncio.run(tour(settings, as_json=as_json))
        raise typer.Exit(1 if failed else 0)
    settings = load_settings(data=data or _DEMO_DATA, demo=True, host="127.0.0.1", port=port)
    asyncio.run(_seed(settings))
    typer.echo(f"Portcullis is open at {settings.base_url}  (stop it with Ctrl+C)")
    _serve(settings)


async def _seed(settings: Settings) -> None:
    async with open_services(settings) as services:
        taken = await seed(services, is_embedding=True)
        await services.worker.drain()
    if taken:
        typer.echo(f"The sample company is in: {taken} documents taken in.")


def serve(data: DataOption = None) -> None:
    """Serve API and pages with the settings of the environment.

    Example: PORTCULLIS_OIDC_ISSUER=https://id.example.org portcullis serve
    """
    settings = settings_for(data)
    _serve(settings)


def _serve(settings: Settings) -> None:
    check_settings(settings)
    # The server reads its settings where every server does; this process has them from the command line.
    os.environ |= {f"PORTCULLIS_{name.upper()}": str(value) for name, value in _given(settings).items()}
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        # Longer than load balancers and clients keep an idle connection: closing first loses the request already on its way.
        timeout_keep_alive=75,
    )


def _given(settings: Settings) -> dict[str, object]:
    return {"data": settings.data, "demo": settings.demo, "host": settings.host, "port": settings.port, "public_url": settings.public_url}


def worker(data: DataOption = None) -> None:
    """Work on queued documents and do the housekeeping until stopped; a document under way is handed back to the queue.

    Example: portcullis worker --data data
    """
    settings = settings_for(data, background=True)
    # Before any thread is started: those of the models inherit it, and the parser processes.
    os.nice(settings.worker_nice)

    async def work() -> None:
        beating = asyncio.create_task(beat(settings.data))
        async with open_services(settings, is_server=True):
            await beating

    configure_logging(settings.log_level)
    asyncio.run(_until_told(work()))


def signer(
    data: DataOption = None,
    show_key: Annotated[bool, typer.Option("--show-key", help="Print the public key for PORTCULLIS_VERIFIER_KEY, and stop.")] = False,
) -> None:
    """Sign the log's checkpoints with a key that no gateway holds, until stopped.

    Example: portcullis signer --data signer-data
    """
    settings = load_settings(data=data)
    if show_key:
        typer.echo(signer_key(settings))
        return
    configure_logging(settings.log_level)
    asyncio.run(_until_told(sign_forever(settings)))


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run until SIGTERM or SIGINT, then cancel, so that everything is given back in order."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="portcullis-demo-") as folder:
        yield Path(folder)
