"""Any OpenAI-compatible chat endpoint behind the `ChatModel` port. Sees rendered passages for one answer; logs and keeps nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from typing import cast

from openai import AsyncOpenAI, AsyncStream, DefaultAsyncHttpxClient, OpenAIError
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from app.domain.ports import ChatMessage
from app.errors import ConfigurationError, UpstreamUnavailableError

_CONNECT_TIMEOUT_S = 5.0
_LONGEST_TOKEN_CHARACTERS = 64
"""An endpoint that ignores `max_tokens` is cut off at so many characters a token."""
_NO_KEY = "none"
"""Sent where no key is configured, or the library would look for one in the environment."""


class OpenAIChat:
    """One model at one endpoint. Implements the `ChatModel` port."""

    def __init__(self, base_url: str, model: str, key: str = "", *, timeout_s: float = 60.0) -> None:
        """`timeout_s` bounds a whole reply, first byte to last. Raises ConfigurationError without a model name."""
        if not model:
            message = "A chat endpoint is configured without a model: set PORTCULLIS_LLM_MODEL."
            raise ConfigurationError(message)
        self.name = model
        self._timeout_s = timeout_s
        # No redirect and no proxy from the environment: passages go to the endpoint the policy spoke of, or nowhere. No retry either,
        # for a second attempt would outlive the deadline and send the passages twice.
        client = DefaultAsyncHttpxClient(follow_redirects=False, trust_env=False, timeout=min(_CONNECT_TIMEOUT_S, timeout_s))
        self._client = AsyncOpenAI(
            base_url=base_url, api_key=key or _NO_KEY, organization="", project="", max_retries=0, timeout=timeout_s, http_client=client
        )

    async def stream(self, messages: Sequence[ChatMessage], *, max_tokens: int) -> AsyncIterator[str]:
        """Yield pieces of the reply as they come. Raises UpstreamUnavailableError when the endpoint fails or the deadline passes."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        left = max_tokens * _LONGEST_TOKEN_CHARACTERS
        chunks = await self._open(messages, max_tokens, deadline)
        try:
            while left > 0 and (piece := await _next_piece(chunks, deadline)) is not None:
                left -= len(piece)
                if piece:
                    yield piece
        finally:
            await chunks.close()

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.close()

    async def _open(self, messages: Sequence[ChatMessage], max_tokens: int, deadline: float) -> AsyncStream[ChatCompletionChunk]:
        given = cast("list[ChatCompletionMessageParam]", [{"role": one.role, "content": one.content} for one in messages])
        try:
            async with asyncio.timeout_at(deadline):
                # `store=False` asks the provider to keep neither prompt nor reply, so nothing is there to be learned from.
                return await self._client.chat.completions.create(
                    model=self.name, messages=given, max_tokens=max_tokens, temperature=0, stream=True, store=False
                )
        except (OpenAIError, TimeoutError, ValueError) as error:
            raise _unavailable() from error


async def _next_piece(chunks: AsyncStream[ChatCompletionChunk], deadline: float) -> str | None:
    """Read the next piece, `None` at the end. The deadline holds for the reading alone, never for whoever consumes the piece."""
    try:
        async with asyncio.timeout_at(deadline):
            chunk = await anext(chunks)
    except StopAsyncIteration:
        return None
    except (OpenAIError, TimeoutError, ValueError) as error:
        raise _unavailable() from error
    return (chunk.choices[0].delta.content or "") if chunk.choices else ""


def _unavailable() -> UpstreamUnavailableError:
    return UpstreamUnavailableError("The language model did not answer.")


def load_prompt(name: str) -> str:
    """Read a prompt of this room's `prompts` folder by its name without extension. Raises ConfigurationError when there is none."""
    try:
        return resources.files("app.llm").joinpath("prompts", f"{name}.md").read_text(encoding="utf-8")
    except OSError as error:
        message = f"There is no prompt named {name}."
        raise ConfigurationError(message) from error
