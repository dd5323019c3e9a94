"""Connections that follow no redirect: a question and its filter go to the configured server and nowhere else."""

from typing import Any

import aiohttp
from opensearchpy import AIOHttpConnection


class Staying:
    """Mixed into the vendor's connections, which follow redirects, even from https to http."""

    session: Any
    """The vendor's client session."""

    async def _create_aiohttp_session(self) -> None:
        await super()._create_aiohttp_session()  # type: ignore[misc]  # the vendor's, which comes next
        staying = aiohttp.TraceConfig()
        staying.on_request_redirect.append(_refuse)
        staying.freeze()
        self.session.trace_configs.append(staying)


class StayingConnection(Staying, AIOHttpConnection):
    """The vendor's connection."""


async def _refuse(*_: Any) -> None:  # noqa: ANN401 - whatever is told of a redirect
    message = "the search server sent the request elsewhere"
    raise aiohttp.ClientError(message)
