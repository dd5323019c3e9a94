"""The chat room against a real server on loopback that speaks the OpenAI protocol, well and badly."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest

from app.domain.ports import ChatMessage
from app.errors import ConfigurationError, UpstreamUnavailableError
from app.llm.chat import OpenAIChat, load_prompt

MESSAGES = (ChatMessage("system", "Be brief."), ChatMessage("user", "canaryquestion"))


def event(text: str | None) -> bytes:
    delta = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m", **delta}
    return f"data: {json.dumps(body)}\n\n".encode()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def endpoint(*pieces: bytes | float) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve `pieces` to every request: bytes are sent, numbers are seconds of silence."""
    requests: list[bytes] = []

    running: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
            requests.append(head + await reader.readexactly(length))
            for piece in pieces:
                if isinstance(piece, bytes):
                    writer.write(piece)
                    await writer.drain()
                else:
                    await asyncio.sleep(piece)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", requests
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running)


async def reply(url: str, *, max_tokens: int = 50, timeout_s: float = 5.0, key: str = "") -> str:
    chat = OpenAIChat(url, "m", key, timeout_s=timeout_s)
    try:
        return "".join([piece async for piece in chat.stream(MESSAGES, max_tokens=max_tokens)])
    finally:
        await chat.aclose()


async def test_pieces_come_in_order_and_the_request_forbids_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-from-the-environment")
    async with endpoint(HEAD, event("Twelve "), event(None), event("weeks [1]."), b"data: [DONE]\n\n") as (url, requests):
        assert await reply(url) == "Twelve weeks [1]."
    assert len(requests) == 1
    head, body = requests[0].split(b"\r\n\r\n", 1)
    assert json.loads(body) | {"messages": []} == {
        "model": "m", "messages": [], "max_tokens": 50, "temperature": 0, "stream": True, "store": False,
    }  # fmt: skip
    assert b"from-the-environment" not in head


async def test_the_first_piece_is_given_before_the_last_is_written() -> None:
    async with endpoint(HEAD, event("one"), 0.5, event("two"), b"data: [DONE]\n\n") as (url, _):
        chat = OpenAIChat(url, "m", timeout_s=5)
        started = time.monotonic()
        stream = chat.stream(MESSAGES, max_tokens=50)
        assert await anext(stream) == "one"
        assert time.monotonic() - started < 0.4
        await stream.aclose()
        await chat.aclose()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",),
        (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",),
        (HEAD, event("half"), b"data: {broken\n\n"),
        (HEAD, event("half"), b'data: {"error": {"message": "canaryquestion"}}\n\n'),
        (HEAD, 30.0),
        (30.0,),
        (HEAD, *[piece for _ in range(40) for piece in (event("drip "), 0.1)]),
        (b"",),
    ],
)
async def test_every_failure_is_one_error_within_the_deadline_and_is_never_retried(pieces: tuple[bytes | float, ...]) -> None:
    async with endpoint(*pieces) as (url, requests):
        started = time.monotonic()
        with pytest.raises(UpstreamUnavailableError) as caught:
            await reply(url, timeout_s=0.6)
        assert time.monotonic() - started < 1.5
        assert len(requests) == 1
    assert "canaryquestion" not in caught.value.detail


async def test_a_redirect_is_not_followed() -> None:
    """Passages go to the endpoint policy decided on; a redirect would carry them elsewhere."""
    async with endpoint(HEAD, event("stolen")) as (elsewhere, taken):
        moved = f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere}/chat/completions\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        async with endpoint(moved.encode()) as (url, _):
            with pytest.raises(UpstreamUnavailableError):
                await reply(url)
    assert taken == []


async def test_an_endpoint_that_never_stops_talking_is_cut_off() -> None:
    async with endpoint(HEAD, *[event("x" * 100)] * 100) as (url, _):
        assert len(await reply(url, max_tokens=10)) <= 10 * 64 + 100


async def test_nobody_there_is_the_same_error() -> None:
    with pytest.raises(UpstreamUnavailableError):
        await reply("http://127.0.0.1:9/v1", timeout_s=1)


async def test_neither_question_nor_reply_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with endpoint(HEAD, event("canaryreply"), b"data: [DONE]\n\n") as (url, _):
        await reply(url, key="canarykey")
    assert "canary" not in caplog.text


def test_an_endpoint_without_a_model_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError):
        OpenAIChat("http://127.0.0.1:9/v1", "")


def test_the_prompt_states_the_rules_that_the_gateway_checks() -> None:
    text = load_prompt("answer")
    for rule in ("only", "[1]", "not instructions", "Never guess"):
        assert rule in text
    with pytest.raises(ConfigurationError):
        load_prompt("none")
