"""The OpenAI-compatible embedder over real HTTP: what it sends, what it checks, what each failure becomes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import SecretStr

from agentstate.errors import (
    InvalidInput,
    ProviderAnswerInvalid,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
)
from agentstate.providers.embedding.openai_embedder import OpenAIEmbedder
from agentstate.providers.faults import retry_after_s
from tests.stubs.provider_server import Fault, FaultKind, ProviderServer, vector

KEY = "pf_test_embedding_key"
WIDTH = 16


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer(WIDTH) as running:
        yield running


@pytest.fixture
def embedder(server: ProviderServer) -> Iterator[OpenAIEmbedder]:
    made = OpenAIEmbedder(
        model="nomic-embed",
        base_url=f"{server.url}/v1",
        api_key=SecretStr(KEY),
        dimensions=WIDTH,
        timeout_s=5,
    )
    yield made
    made.close()


def test_vectors_come_back_in_the_order_of_the_texts(server: ProviderServer, embedder: OpenAIEmbedder) -> None:
    server.plan("reversed")
    texts = ["first", "second", "third"]
    vectors = embedder.embed_documents(texts)
    assert vectors.dtype == "float32"
    assert [list(map(float, row)) for row in vectors] == [vector(text, WIDTH) for text in texts]


def test_asks_other_servers_for_plain_floats(server: ProviderServer, embedder: OpenAIEmbedder) -> None:
    embedder.embed_query("hello")
    assert server.seen[0].body["encoding_format"] == "float"
    assert server.seen[0].body["dimensions"] == WIDTH
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


def test_dimensions_are_sent_only_when_configured_and_else_found_out(server: ProviderServer) -> None:
    embedder = OpenAIEmbedder(model="org/Model:v1", base_url=f"{server.url}/v1", timeout_s=5)
    assert embedder.space.dimensions == WIDTH
    embedder.embed_query("hello")
    embedder.close()
    assert [seen.body.get("dimensions") for seen in server.seen] == [None, None]
    assert embedder.space.collection.startswith("memories-openai-compatible-org-model-v1-16-")


def test_many_texts_are_sent_in_calls_that_the_provider_takes(server: ProviderServer) -> None:
    embedder = OpenAIEmbedder(model="m", base_url=f"{server.url}/v1", dimensions=WIDTH, max_inputs=64, timeout_s=5)
    texts = [f"memory {number}" for number in range(150)]
    vectors = embedder.embed_documents(texts)
    embedder.close()
    assert [len(seen.body["input"]) for seen in server.seen] == [64, 64, 22]
    assert list(map(float, vectors[149])) == vector("memory 149", WIDTH)


def test_a_text_too_long_for_the_provider_is_embedded_by_its_head(
    server: ProviderServer, embedder: OpenAIEmbedder
) -> None:
    embedder.embed_documents(["word " * 40_000, "short"])
    sent = server.seen[0].body["input"]
    assert 20_000 < len(sent[0]) < 60_000
    assert sent[1] == "short"


def test_no_text_is_no_call(server: ProviderServer, embedder: OpenAIEmbedder) -> None:
    assert embedder.embed_documents([]).shape == (0, WIDTH)
    assert server.seen == []


def test_a_blank_text_is_refused_before_any_call(server: ProviderServer, embedder: OpenAIEmbedder) -> None:
    with pytest.raises(InvalidInput, match="text 1 of 2 is blank"):
        embedder.embed_documents(["fine", " \n"])
    assert server.seen == []


@pytest.mark.parametrize("kind", ["short", "wrong_width", "nan", "zero", "same_index", "html"])
def test_a_wrong_answer_is_never_passed_on(server: ProviderServer, embedder: OpenAIEmbedder, kind: FaultKind) -> None:
    server.plan(kind)
    with pytest.raises(ProviderAnswerInvalid, match="stored"):
        embedder.embed_documents(["one", "two", "three"])


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("status", 500), ProviderTransient),
        (Fault("status", 529), ProviderTransient),
        (Fault("status", 409), ProviderTransient),
        (Fault("status", 429), ProviderRateLimited),
        (Fault("status", 429, code="insufficient_quota"), ProviderRefused),
        (Fault("status", 400), ProviderRefused),
        (Fault("status", 401), ProviderRefused),
        (Fault("status", 402), ProviderRefused),
        (Fault("status", 404), ProviderRefused),
        (Fault("status", 413), ProviderRefused),
        (Fault("status", 422), ProviderRefused),
        (Fault("drop"), ProviderTransient),
    ],
)
def test_each_failure_says_whether_to_try_again(
    server: ProviderServer, embedder: OpenAIEmbedder, fault: Fault, expected: type[ProviderError]
) -> None:
    server.plan(fault)
    with pytest.raises(ProviderError) as caught:
        embedder.embed_query("hello")
    assert type(caught.value) is expected
    assert len(server.seen) == 1, "the client must not retry by itself"


def test_a_rate_limit_says_how_long_to_wait(server: ProviderServer, embedder: OpenAIEmbedder) -> None:
    server.plan(Fault("status", 429, {"retry-after": "3600"}), Fault("status", 503, {"retry-after-ms": "1500"}))
    for expected in (3600, 1.5):
        with pytest.raises(ProviderRateLimited) as caught:
            embedder.embed_query("hello")
        assert caught.value.retry_after == expected


def test_a_slow_provider_is_given_up_on(server: ProviderServer) -> None:
    embedder = OpenAIEmbedder(model="m", base_url=f"{server.url}/v1", dimensions=WIDTH, timeout_s=0.2)
    server.plan("slow")
    with pytest.raises(ProviderTransient, match="in time"):
        embedder.embed_query("hello")
    embedder.close()


def test_a_provider_that_is_not_there_is_transient() -> None:
    with ProviderServer() as server:
        url = server.url
    embedder = OpenAIEmbedder(model="m", base_url=f"{url}/v1", dimensions=WIDTH, timeout_s=2)
    with pytest.raises(ProviderTransient, match="cannot be reached"):
        embedder.embed_query("hello")
    embedder.close()


def test_the_key_is_in_no_error_and_no_repr(server: ProviderServer, embedder: OpenAIEmbedder) -> None:
    server.plan(Fault("status", 401, message=f"Incorrect API key provided: {KEY}"))
    with pytest.raises(ProviderRefused) as caught:
        embedder.embed_query("hello")
    assert KEY not in str(caught.value)
    assert "***" in str(caught.value)
    assert KEY not in repr(vars(embedder))
    assert KEY not in embedder.describe().text


def test_a_forked_child_makes_its_own_client(server: ProviderServer, embedder: OpenAIEmbedder) -> None:
    embedder.embed_query("before the fork")
    before = embedder._clients.get()
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of the stub's threads
        pid = os.fork()
    if pid == 0:
        own = embedder._clients.get() is not before and embedder.embed_query("child").shape == (WIDTH,)
        os.write(write, b"1" if own else b"0")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 1) == b"1"
    os.close(read)
    os.close(write)
    assert embedder._clients.get() is before
    assert embedder.embed_query("parent").shape == (WIDTH,)


def test_retry_after_is_read_in_all_its_forms() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=60)
    dated = retry_after_s({"retry-after": format_datetime(soon, usegmt=True)})
    assert dated is not None
    assert 50 < dated <= 60
    assert retry_after_s({"retry-after": "2.5"}) == 2.5
    assert retry_after_s({}) is None
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({"retry-after": "-1"}) is None
    assert retry_after_s({"retry-after": "inf"}) is None


def test_the_head_of_a_query_that_is_too_long_is_embedded(server: ProviderServer, embedder: OpenAIEmbedder) -> None:
    server.plan(Fault("status", 413), Fault("status", 400))
    embedder.embed_query("what did I say about the harvest? " * 100)
    lengths = [len(seen.body["input"][0]) for seen in server.seen]
    assert lengths[0] > lengths[1] > lengths[2]
    server.plan(Fault("status", 401))
    with pytest.raises(ProviderRefused):
        embedder.embed_query("what did I say about the harvest? " * 100)
    assert len(server.seen) == 4
    server.plan(Fault("status", 400))
    with pytest.raises(ProviderRefused):
        embedder.embed_query("short")
    assert len(server.seen) == 5
