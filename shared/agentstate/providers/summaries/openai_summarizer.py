"""Chat Completions as a chat model, for OpenAI and for servers that imitate its API."""

from __future__ import annotations

from typing import Any, Final

from pydantic import SecretStr

from agentstate.errors import ProviderAnswerInvalid
from agentstate.providers.clients import OPENAI_URL, PerProcessClient, openai_client, openai_sdk, strip_credentials
from agentstate.providers.embedding.embedder import ProviderStatus
from agentstate.providers.faults import provider_faults
from agentstate.providers.summaries.model_summarizer import Reply, Stop
from agentstate.providers.usage import OPENAI_SUMMARY_MODEL

NAME: Final = "openai"
_REASONING_FACTOR: Final = 4  # OpenAI counts hidden reasoning within the same limit
_STOPS: Final[dict[str, Stop]] = {"stop": "done", "length": "truncated", "content_filter": "refused"}


class OpenAIChat:
    """Asks one model by HTTP, without retries of its own and with a deadline per call."""

    name = NAME

    def __init__(
        self,
        *,
        api_key: SecretStr | None = None,
        model: str = OPENAI_SUMMARY_MODEL,
        base_url: str | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        openai_sdk()  # refuse at start, not at the first conversation
        self.model = model
        self._key = api_key
        self._base_url = base_url
        self._own = (base_url or OPENAI_URL).rstrip("/") == OPENAI_URL
        self._clients = PerProcessClient(lambda: openai_client(base_url, api_key, timeout_s))

    def ask(self, system: str, user: str, max_tokens: int) -> Reply:
        """See `ChatModel.ask`."""
        client = self._clients.get()
        # OpenAI refuses `max_tokens` for its newer models; other servers may not know the newer name.
        limit: dict[str, Any] = (
            {"max_completion_tokens": max_tokens * _REASONING_FACTOR} if self._own else {"max_tokens": max_tokens}
        )
        with provider_faults(openai_sdk(), NAME, self._key):
            answer = client.chat.completions.create(
                model=self.model,
                messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
                **limit,
            )
        choices = getattr(answer, "choices", None)
        if not choices:
            raise ProviderAnswerInvalid("openai answered no choice; nothing of it was stored.")
        message, usage = choices[0].message, getattr(answer, "usage", None)
        refused = bool(getattr(message, "refusal", None))
        return Reply(
            message.content or "",
            "refused" if refused else _STOPS.get(str(choices[0].finish_reason), "truncated"),
            getattr(usage, "prompt_tokens", None),
            getattr(usage, "completion_tokens", None),
        )

    def describe(self) -> ProviderStatus:
        """See `Summarizer.describe`."""
        place = f" at {strip_credentials(str(self._base_url))}" if not self._own else ""
        return ProviderStatus(NAME, f"openai: {self.model}{place}; figures checked against the source")

    def close(self) -> None:
        """Give back the connections."""
        self._clients.close()
