"""Settings: everything that can be configured, read from `AGENTSTATE_*` and checked at start.

The environment wins over the settings file, and that over the secrets folder. The file is the one named by
`AGENTSTATE_ENV_FILE`, else `.agentstate/env` of the working directory, which the one-machine stack writes. The folder
is the one named by `AGENTSTATE_SECRETS_DIR`: a file in it, such as `agentstate_database_url`, holds one setting, as
container engines and Kubernetes mount secrets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agentstate.errors import ConfigurationError

PREFIX = "AGENTSTATE_"
ENV_FILE_VARIABLE = "AGENTSTATE_ENV_FILE"
SECRETS_DIR_VARIABLE = "AGENTSTATE_SECRETS_DIR"  # pragma: allowlist secret
DEFAULT_ENV_FILE = Path(".agentstate/env")

_DATABASE_SCHEMES = ("postgresql+psycopg://", "postgresql://", "sqlite:///")
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


class Settings(BaseSettings):
    """One process's settings; frozen. `Settings.load()` reads and checks them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", case_sensitive=False)

    # Where things are
    database_url: str = Field(
        description="Durable store: postgresql+psycopg://USER@HOST/DATABASE, with a password, or sqlite:///PATH."
    )
    redis_url: str = Field("redis://127.0.0.1:6379/1", description="Redis for recent episodes and cached states.")
    broker_url: str = Field("redis://127.0.0.1:6379/0", description="Redis for the Celery queues.")
    qdrant_url: str = Field(
        "http://127.0.0.1:6333", description="Qdrant, or the one-machine engine that speaks its REST."
    )
    qdrant_api_key: SecretStr | None = Field(None, description="Key that Qdrant asks for.")
    services_url: str = Field(
        "https://purpleflea.com/api/v1", description="Base URL of the unified gateway of the financial services."
    )
    services_api_key: SecretStr | None = Field(None, description="Key of the financial services.")
    services_egress: str = Field(
        "default",
        pattern=r"^[^{}\s]{1,64}$",
        description="Name of the address that requests to the services leave from; the services limit by address, and "
        "processes that share one share one count.",
    )
    services_limits: dict[str, PositiveInt] = Field(
        default_factory=dict,
        description='Requests in 60 s by path, as JSON: {"POST /api/v1/casino/bet": 60}. Others are learned from 429s.',
    )
    services_dialect: Literal["gateway", "services"] = Field(
        "gateway",
        description="How the financial services are spoken to: by the unified gateway, or by the services' own routes "
        "with the addresses and accounts of `services_file`.",
    )
    services_file: Path | None = Field(
        None,
        description="TOML file with addresses, accounts and references to credentials for the services' own routes.",
    )
    services_modules: str = Field(
        "", description="Python modules that add services of your own, separated by commas; every process imports them."
    )

    effects_secret: SecretStr | None = Field(
        None,
        description="Makes the marks that effects leave at the services unpredictable; must never change. Unset: they "
        "can be computed by whoever knows the agent and the key.",
    )

    currencies: dict[str, int] = Field(
        default_factory=dict,
        description="Currencies beside USDC, USDT, USD, BTC and SOL, with the digits after the point of their smallest "
        'unit, as JSON: {"ETH": 9} counts in gwei. All processes name the same; a scale never changes.',
    )

    # Embedding
    embedder: Literal["auto", "openai", "minilm", "lexical"] = Field(
        "auto",
        description="Who embeds memories: `auto` takes openai when a key or base URL is set, else minilm when its "
        "model files are found, else lexical (keyword search only).",
    )
    embedding_model: str = Field("text-embedding-3-small", description="Model name sent to the embedding provider.")
    embedding_dimensions: int | None = Field(
        None, ge=8, le=8192, description="Width to ask the provider for; unset: its own."
    )
    embedding_batch: int = Field(512, ge=1, le=2048, description="Memories in one provider call at most.")
    embedding_text_tokens: int = Field(
        1_000,
        ge=32,
        le=1_000,
        description="Tokens of one text that the embedding provider takes, such as 512; a longer memory is embedded in "
        "pieces. When the provider refuses that length, shorter pieces are made by themselves.",
    )
    embedding_backfill: Literal["direct", "batch"] = Field(
        "direct",
        description="How `agentstate index rebuild` and `switch-model` embed what has no vector yet: `batch` takes "
        "OpenAI's batch API (half the price, up to a day), `direct` the API that everything else takes.",
    )
    minilm_dir: Path | None = Field(
        None, description="Folder with model.safetensors and vocab.txt; unset: the installed package's."
    )
    openai_base_url: str | None = Field(
        None, description="OpenAI-compatible endpoint, such as http://127.0.0.1:11434/v1."
    )
    openai_api_key: SecretStr | None = Field(None, description="Key of the OpenAI-compatible endpoint.")

    # Summaries
    summarizer: Literal["auto", "anthropic", "openai", "digest"] = Field(
        "auto",
        description="Who summarizes conversations: `auto` takes anthropic when its key is set, else openai when "
        "`summary_model` and its key or base URL are set, else digest (no model).",
    )
    summary_model: str | None = Field(
        None, description="Model name for summaries; unset: the provider's default of ours."
    )
    summary_after_tokens: int = Field(
        6_000, ge=200, description="A conversation whose unsummarized turns pass this many tokens is summarized."
    )
    summary_debounce_s: float = Field(
        2.0,
        ge=0,
        le=600,
        description="Wait before a conversation is summarized, so that a burst of turns makes one job.",
    )
    anthropic_base_url: str | None = Field(None, description="Anthropic endpoint; unset: the public one.")
    anthropic_api_key: SecretStr | None = Field(None, description="Anthropic key.")
    provider_timeout_s: float = Field(30.0, gt=0, le=300, description="Deadline of one provider call, in seconds.")

    token_counter: Literal["estimate", "exact", "auto"] = Field(
        "estimate",
        description="Who counts tokens of working memory: `estimate` needs nothing; `exact` needs tiktoken with its "
        "vocabulary on this machine, or ctok for Claude; `auto` takes exact where it can be had.",
    )

    # Limits
    max_text_bytes: int = Field(
        262_144, ge=1_024, le=8_388_608, description="Longest text of one memory or turn, UTF-8 bytes."
    )
    max_message_bytes: int = Field(
        16_777_216,
        ge=1_024,
        le=134_217_728,
        description="Largest message of a conversation with its pictures and documents, as JSON text, UTF-8 bytes.",
    )
    max_payload_bytes: int = Field(
        65_536, ge=1_024, le=1_048_576, description="Largest JSON payload of a job or an episode."
    )
    episodes_kept: int = Field(500, ge=1, le=100_000, description="Recent episodes kept in Redis per agent.")
    episodes_ttl_s: int = Field(604_800, ge=60, description="Age at which episodes leave Redis, in seconds.")
    episodes_limits: dict[str, dict[Literal["kept", "ttl_s"], PositiveInt]] = Field(
        default_factory=dict,
        description='The same for single agents, as JSON: {"ag_7": {"kept": 2000, "ttl_s": 86400}}.',
    )
    updates_kept: int = Field(10_000, ge=100, le=10_000_000, description="Live updates kept per agent.")
    updates_ttl_s: int = Field(604_800, ge=60, description="Age at which live updates are removed, in seconds.")

    # Jobs
    lanes: int = Field(
        4, ge=1, le=64, description="Lanes per queue; an agent's jobs stay in one, so a flood delays only its own."
    )
    sweep_every_s: float = Field(
        5.0, ge=0.2, le=300, description="How often lost wake-ups and expired leases are looked for."
    )
    jobs_kept_s: int = Field(604_800, ge=3_600, description="How long finished jobs stay readable, in seconds.")
    effects_kept_s: int = Field(
        7_776_000,
        ge=172_800,
        description="How long what an ended effect was and gave is kept, in seconds; that its key was used, for ever.",
    )
    snapshot_every_s: int = Field(300, ge=5, le=86_400, description="Time between portfolio snapshots, in seconds.")
    reconcile_every_s: int = Field(
        60, ge=5, le=86_400, description="Time between reconciliations of one account, in seconds."
    )

    # Flower
    flower_port: int = Field(5555, ge=1, le=65_535, description="Port of Flower on loopback.")
    flower_basic_auth: SecretStr | None = Field(
        None, description="`user:password` that Flower asks for; it does not start without."
    )

    # Logging
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log line that is written."
    )

    log_json: bool = Field(default=False, description="Write log lines as JSON instead of plain text.")

    @field_validator("database_url")
    @classmethod
    def _database_scheme(cls, value: str) -> str:
        if not value.startswith(_DATABASE_SCHEMES):
            raise ValueError(f"must begin with {' or '.join(_DATABASE_SCHEMES)}")
        return value.replace("postgresql://", "postgresql+psycopg://", 1)

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _redis_url(cls, value: str) -> str:
        if "cluster" in value.partition("://")[0]:
            raise ValueError(
                "a Redis Cluster cannot be used: transactions of ours and Celery's queues span several slots"
            )
        if not value.startswith(_REDIS_SCHEMES):
            raise ValueError(f"must begin with {' or '.join(_REDIS_SCHEMES)}")
        # Celery and the client of Redis spell it differently; the small form is understood by both.
        address, _, query = value.partition("?")
        options = [option.split("=", 1) for option in query.split("&") if option]
        for option in options:
            if option[0] == "ssl_cert_reqs":
                option[1:] = [part.lower().removeprefix("cert_") for part in option[1:]]
                if option[1:] not in (["required"], ["optional"], ["none"]):
                    raise ValueError("ssl_cert_reqs is required (the default with rediss://), optional or none")
        return "?".join([address, *(["&".join("=".join(option) for option in options)] if options else [])])

    @classmethod
    def load(cls, *, env_file: Path | None = None, **overrides: Any) -> Settings:
        """Read settings from `overrides`, the environment, the settings file and the secrets, in this precedence.

        Args:
            env_file: the settings file; left out, the one that `settings_file` finds.
            overrides: fields by name.

        Raises:
            ConfigurationError: a setting is unknown, missing or out of its range; names each one and the reason.
        """
        try:
            env_file, secrets_dir = env_file or find_settings_file(), _secrets_dir()
            _refuse_unknown(cls, {*os.environ, *_names_in(env_file), *_names_of_secrets(secrets_dir)})
            return cls(_env_file=env_file, _secrets_dir=secrets_dir, **overrides)  # type: ignore[call-arg]
        except ValidationError as error:
            raise ConfigurationError(_explain_errors(error)) from None
        except OSError as error:
            raise ConfigurationError(
                f"{error.filename} holds settings and cannot be read by this process: {error.strerror}. "
                "Correct its owner or mode."
            ) from None


def find_settings_file() -> Path | None:
    """The settings file that is read when none is named; None when there is none. Raises ConfigurationError."""
    named = os.environ.get(ENV_FILE_VARIABLE)
    if named is None:
        return DEFAULT_ENV_FILE if DEFAULT_ENV_FILE.is_file() else None
    if not Path(named).is_file():
        raise ConfigurationError(f"{ENV_FILE_VARIABLE}={named}: there is no such file. Correct the path or unset it.")
    return Path(named)


def _secrets_dir() -> Path | None:
    named = os.environ.get(SECRETS_DIR_VARIABLE)
    if named is not None and not Path(named).is_dir():
        raise ConfigurationError(
            f"{SECRETS_DIR_VARIABLE}={named}: there is no such folder. Mount the secrets there or unset it."
        )
    return Path(named) if named is not None else None


def _refuse_unknown(cls: type[Settings], given: set[str]) -> None:
    known = {PREFIX + name.upper() for name in cls.model_fields} | {ENV_FILE_VARIABLE, SECRETS_DIR_VARIABLE}
    unknown = sorted(name.upper() for name in given if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise ConfigurationError(
            f"unknown setting {', '.join(unknown)}. Check the spelling; `agentstate doctor --settings` lists all."
        )


def _names_in(env_file: Path | None) -> set[str]:
    if env_file is None:
        return set()
    lines = (line.strip() for line in env_file.read_text("utf-8").splitlines())
    return {line.split("=", 1)[0].strip().upper() for line in lines if "=" in line and not line.startswith("#")}


def _names_of_secrets(secrets_dir: Path | None) -> set[str]:
    found = secrets_dir.iterdir() if secrets_dir is not None else ()
    ours = [path for path in found if path.name.upper().startswith(PREFIX)]
    for path in ours:
        path.open("rb").close()  # one that may not be read is told by its path here, and in no clear way later
    return {path.name for path in ours}


def _explain_errors(error: ValidationError) -> str:
    reasons = []
    for item in error.errors():
        name = PREFIX + str(item["loc"][0]).upper() if item["loc"] else "settings"
        reasons.append(
            f"{name} is not set" if item["type"] == "missing" else f"{name}{_given_value(item)}: {_plain_reason(item)}"
        )
    hint = (
        " `make up` starts everything on this machine and writes the settings file."
        if "not set" in " ".join(reasons)
        else ""
    )
    return f"{'; '.join(reasons)}.{hint}"


_SHOWN = ("int_", "float_", "bool_", "greater_", "less_", "literal_", "enum")
"""Kinds of errors of values that are no text, which a secret never is."""


def _given_value(error: Mapping[str, Any]) -> str:
    return f"={error['input']}" if error["type"].startswith(_SHOWN) else ""


def _plain_reason(error: Mapping[str, Any]) -> str:
    """Return pydantic's message without its prefixes."""
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return text if text == error["msg"] or error["type"] == "value_error" else f"it should be {text}"
