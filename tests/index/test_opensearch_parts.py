"""Parts of the OpenSearch engine that need no server: names, patterns of near words, signatures, what is stored of a chunk."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from tests_index_samples import chunk, facts

from app.domain.content import ChunkId
from app.domain.identity import TenantId
from app.domain.search import ChunkVectors, GuardedText
from app.errors import ConfigurationError, InvalidInputError, UpstreamUnavailableError
from app.index.lexical import K1, term_weight
from app.index.opensearch.connection import Cluster
from app.index.opensearch.documents import StoredChunk, hidden_key, unpacked, words_digest
from app.index.opensearch.engine import OpenSearchIndex
from app.index.opensearch.filters import pair_key
from app.index.opensearch.rules import Login, OpenSearchRules, chunk_key, head_key, model_key, tenant_key
from app.index.opensearch.signing import signature
from app.index.opensearch.spelling import near_pattern
from app.index.spelling import edit_distance, most_edits
from app.settings import load_settings
from app.wiring.indexes import open_index

RULES = OpenSearchRules(("http://127.0.0.1:9200",), 8)
NAMES = (
    "acme",
    "heads",
    "Acme",
    "acme-corp",
    "acme_corp",
    "acme-g1",
    "own.board",
    "a.b",
    "ünï",
    "",
    "x" * 300,
    "acme_corp.0123456789abcdef",
    "*",
    "a,b",
)


def test_no_two_tenants_groups_or_generations_share_a_name_and_each_is_one_the_server_takes() -> None:
    made = [RULES.alias(TenantId(name)) for name in NAMES]
    made += [RULES.alias(TenantId("acme"), name) for name in NAMES if name]
    made += [RULES.index(TenantId(name), generation) for name in NAMES for generation in (1, 2)]
    made += [RULES.index(TenantId("acme"), 1, name) for name in NAMES if name]
    made.append(RULES.heads)
    assert len(set(made)) == len(made)
    assert all(RULES.is_ours(name) for name in made if re.search(r"-g\d$", name))
    assert not any(replace(RULES, prefix="portcul").is_ours(name) for name in made)
    assert not RULES.is_ours("portcullis-staging-acme-g1")
    for name in made:
        assert re.fullmatch(r"portcullis-[a-z0-9_.\-]+", name)
        assert len(name) < 255


@pytest.mark.parametrize(
    ("given_settings", "said"),
    [
        ({"opensearch_url": ["http://search.example.org:9200"]}, "use https"),
        ({"opensearch_url": ["HTTP://10.0.0.7:9200"]}, "use https"),
        ({"opensearch_url": ["search.example.org:9200"]}, "each address is"),
        ({"opensearch_url": ["127.0.0.1:9200"]}, "each address is"),
        ({"opensearch_url": ["ftp://127.0.0.1:9200"]}, "each address is"),
        ({"opensearch_url": ["https://user:pw@127.0.0.1:9200"]}, "holds a login"),
        ({"opensearch_url": ["https://127.0.0.1:9200", "http://127.0.0.1:9201"]}, "at every address"),
        ({"opensearch_url": ["http://127.0.0.1:9200"], "opensearch_ca_file": "/ca.pem"}, "need https"),
        ({"opensearch_url": ["https://127.0.0.1:9200"], "opensearch_aws_region": "eu-west-1"}, "AWS_ACCESS_KEY_ID"),
    ],
)
async def test_an_address_that_would_tell_a_network_what_is_asked_is_refused_at_start(
    given_settings: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigurationError, match=said) as refused:
            await open_index(load_settings(**given_settings), _Embedder(), stack)  # type: ignore[arg-type]  # what it is asked for
    assert "pw" not in str(refused.value)


async def test_an_address_in_capitals_is_the_same_address() -> None:
    async with AsyncExitStack() as stack:
        opened = await open_index(load_settings(opensearch_url=["HTTP://LocalHost:9"]), _Embedder(), stack)  # type: ignore[arg-type]  # as above
        assert isinstance(opened, OpenSearchIndex)
        assert opened.cluster.rules.urls == ("http://LocalHost:9",)


async def test_a_redirect_is_not_followed() -> None:
    """A question and its filter go to the configured server and nowhere else."""
    elsewhere: list[bytes] = []

    async def note(request: web.Request) -> web.Response:
        elsewhere.append(await request.read())
        return web.json_response({"responses": []})

    async def redirect(request: web.Request) -> web.Response:
        await request.read()
        address = f"http://127.0.0.1:{target}/stolen"
        raise web.HTTPTemporaryRedirect(address)

    async with served(note) as target, served(redirect) as port:
        for login in (Login(user="u", password="p"), Login(aws_region="eu-west-1", aws_key_id="k", aws_secret="s")):
            cluster = Cluster(replace(RULES, urls=(f"http://127.0.0.1:{port}",), login=login))
            with pytest.raises(UpstreamUnavailableError):
                await cluster.search_many("x", [{"query": {"match": {"text": "a secret question"}}}])
            await cluster.close()
    assert not elsewhere


@asynccontextmanager
async def served(handler: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def test_secrets_of_a_login_are_in_no_printed_form() -> None:
    login = Login(user="u", password="hunter2", token="hunter2", aws_secret="hunter2", aws_session_token="hunter2")
    assert "hunter2" not in repr(replace(RULES, login=login))


class _Embedder:
    """As much of an embedder as opening an index asks for."""

    dim, digest = 8, "none"

    def known_words(self) -> frozenset[str]:
        return frozenset()


def test_keys_differ_by_every_part_and_fit() -> None:
    keys = [
        chunk_key("a", 1, "b"),
        chunk_key("a", 2, "b"),
        chunk_key("a@1#b", 1, "b"),
        chunk_key("x" * 600, 1, "y"),
        chunk_key("x" * 600, 1, "z"),
    ]
    keys += [head_key("a"), tenant_key(TenantId("a")), model_key(TenantId("a"), 1), model_key(TenantId("a"), 2)]
    assert len(set(keys)) == len(keys)
    assert all(len(key.encode()) <= 512 for key in keys)


@given(st.tuples(st.text(max_size=6), st.text(max_size=6)), st.tuples(st.text(max_size=6), st.text(max_size=6)))
def test_two_pairs_share_a_term_only_when_they_are_the_same(left: tuple[str, str], right: tuple[str, str]) -> None:
    def cleaned(pair: tuple[str, str]) -> list[str]:
        return [part.encode("utf-8", "replace").decode() for part in pair]

    assert (pair_key(*left) == pair_key(*right)) == (cleaned(left) == cleaned(right))
    assert (hidden_key(*left) == hidden_key(*right)) == (left == right)


@settings(max_examples=300, deadline=None)
@given(st.text("abcde", min_size=4, max_size=22), st.data())
def test_the_pattern_of_a_word_lets_every_word_within_its_edits_through(word: str, data: st.DataObject) -> None:
    other = word
    for _ in range(data.draw(st.integers(0, most_edits(word)))):
        place = data.draw(st.integers(0, len(other)))
        kind = data.draw(st.sampled_from(["add", "drop", "change", "swap"]))
        letter = data.draw(st.sampled_from("abcdxyz"))
        pair = other[place : place + 2]
        fresh = {"add": letter + pair, "drop": pair[1:], "change": letter + pair[1:], "swap": pair[::-1]}[kind]
        other = other[:place] + fresh + other[place + 2 :]
    if edit_distance(word, other, most_edits(word)) <= most_edits(word):
        assert re.fullmatch(near_pattern(word), other), (word, other)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_a_request_is_signed_as_in_amazons_published_examples(query: str, expected: str) -> None:
    login = Login(aws_region="us-east-1", aws_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    request = ("GET", f"https://examplebucket.s3.amazonaws.com/?{query}", b"")
    signed = signature(login, request, datetime(2013, 5, 24, tzinfo=UTC), {}, "s3")
    assert signed["authorization"].rsplit("=", 1)[1] == expected
    session = signature(replace(login, aws_session_token="token"), request, datetime(2013, 5, 24, tzinfo=UTC), {}, "s3")
    assert session["x-amz-security-token"] == "token"
    assert session["authorization"].rsplit("=", 1)[1] != expected


def test_what_waits_carries_no_word_and_no_fact_a_search_could_meet() -> None:
    stored = StoredChunk.of("d", 1, replace(chunk("d", "leave request"), guarded=(GuardedText("PERSON", "Ann"),)))
    waiting = stored.waiting("acme")
    assert waiting["live"] is False
    assert set(waiting) == {"tenant", "document_id", "version", "chunk_id", "live", "surface"}


def test_a_chunk_comes_back_from_its_fields_as_it_went_in() -> None:
    vectors = ChunkVectors(ChunkId("d.1.0"), *(np.eye(8, dtype=np.float32)[part] for part in (0, [1, 2], [3, 4])))
    stored = StoredChunk.of("d", 1, replace(chunk("d", "leave request leave"), guarded=(GuardedText("PERSON", "Ann"),))).with_vectors(
        vectors
    )
    fields = {name: [value.rstrip("=") if isinstance(value, str) else value] for name, value in stored.waiting("acme").items()}
    assert StoredChunk.of_fields(fields) == stored
    assert words_digest([stored]) != words_digest([StoredChunk.of("d", 1, chunk("d", "leave"))])


def test_stored_weights_are_bm25s_and_counts_are_by_stem() -> None:
    document = StoredChunk.of("d", 1, chunk("d", "leaves leave travel")).live(facts("d"))
    assert document["weights"]["en:leav"] == term_weight(2, 3, 120)
    assert 0 < document["weights"]["en:travel"] < document["weights"]["en:leav"] < K1 + 1
    counts, hidden = orjson.loads(unpacked(document["bag"]))
    assert (counts, hidden) == ({"leav": 2, "travel": 1}, [])


def test_vectors_of_odd_shapes_are_refused_before_anything_is_sent() -> None:
    stored = StoredChunk.of("d", 1, chunk("d", "leave"))
    with pytest.raises(InvalidInputError):
        stored.with_vectors(
            ChunkVectors(ChunkId("d.1.0"), np.ones(8, np.float32), np.ones((2, 8), np.float32), np.ones((3, 8), np.float32))
        )


@pytest.mark.parametrize("fields", [{}, {"surface": ["bm9uZQ"]}, {"surface": "text"}, {"surface": ["a", "b"]}, {"surface": [5]}])
def test_fields_that_are_none_of_ours_are_an_error(fields: dict[str, object]) -> None:
    with pytest.raises(UpstreamUnavailableError):
        StoredChunk.of_fields({"document_id": ["d"], "chunk_id": ["c"], "version": [1], **fields})
