"""A proxy before the real server that notes what an engine sends and may change what the server says."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from app.index.opensearch.engine import OpenSearchIndex
from tests.conformance.engines import opensearch_engine, opensearch_rules

Json = Any
"""What a server's reply is before anybody has looked at it."""


@dataclass
class Proxy:
    """Stands between an engine and the real server, and may change what the server says."""

    target: str
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    change: Callable[[str, Json], Json] = lambda _, reply: reply
    refuses: dict[str, int] = field(default_factory=dict)
    """Paths that are answered with a status and never reach the server."""

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.path, body))
        if request.path in self.refuses:
            return web.json_response({"error": {"type": "refused"}}, status=self.refuses[request.path])
        headers = {"content-type": request.headers.get("content-type", "application/json")}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, self.target + request.path_qs, data=body, headers=headers) as reply,
        ):
            text = await reply.text()
            changed = self.change(request.path, json.loads(text)) if text else text
            return web.json_response(changed, status=reply.status)


@asynccontextmanager
async def proxy_before(target: str) -> AsyncIterator[tuple[str, Proxy]]:
    """(address, proxy) before the server at `target`."""
    proxy = Proxy(target)
    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{path:.*}", proxy.pass_on)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", proxy
    finally:
        await runner.cleanup()


@asynccontextmanager
async def proxied(target: str, **changes: object) -> AsyncIterator[tuple[OpenSearchIndex, Proxy]]:
    """An engine and the proxy it sends through."""
    async with proxy_before(target) as (address, proxy), opensearch_engine(opensearch_rules(address, **changes)) as engine:
        yield engine, proxy
        proxy.change = lambda _, reply: reply
