"""Anthropic's Messages API as a chat model: text blocks taken by type, every stop reason accounted for."""

from __future__ import annotations

from typing import Final

from pydantic import SecretStr

from agentstate.errors import ProviderAnswerInvalid
from agentstate.providers.clients import PerProcessClient, anthropic_client, anthropic_sdk, strip_credentials
from agentstate.providers.embedding.embedder import ProviderStatus
from agentstate.providers.faults import provider_faults
from agentstate.providers.summaries.model_summarizer import Reply, Stop
from agentstate.providers.usage import ANTHROPIC_SUMMARY_MODEL

NAME: Final = "anthropic"
_MAX_TOKENS: Final = 20_000  # above this the SDK insists on streaming
_STOPS: Final[dict[str, Stop]] = {
    "end_turn": "done",
    "stop_sequence": "done",
    "max_tokens": "truncated",
    "model_context_window_exceeded": "truncated",
    "refusal": "refused",
}


class AnthropicChat:
    """Asks one Claude model by HTTP, without retries of its own and with a deadline per call."""

    name = NAME

    def __init__(
        self,
        *,
        api_key: SecretStr | None,
        model: str = ANTHROPIC_SUMMARY_MODEL,
        base_url: str | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        anthropic_sdk()  # refuse at start, not at the first conversation
        self.model = model
        self._key = api_key
        self._base_url = base_url
        self._clients = PerProcessClient(lambda: anthropic_client(base_url, api_key, timeout_s))

    def ask(self, system: str, user: str, max_tokens: int) -> Reply:
        """See `ChatModel.ask`."""
        client = self._clients.get()
        with provider_faults(anthropic_sdk(), NAME, self._key):
            answer = client.messages.create(
                model=self.model,
                max_tokens=min(max_tokens, _MAX_TOKENS),
                system=system,
                messages=[{"role": "user", "content": user}],
                thinking={"type": "disabled"},
            )
        blocks = getattr(answer, "content", None)
        if not isinstance(blocks, list):
            raise ProviderAnswerInvalid("anthropic answered no message; nothing of it was stored.")
        text = "".join(str(block.text) for block in blocks if getattr(block, "type", None) == "text")
        usage = getattr(answer, "usage", None)
        return Reply(
            text,
            _STOPS.get(str(getattr(answer, "stop_reason", None)), "truncated"),
            getattr(usage, "input_tokens", None),
            getattr(usage, "output_tokens", None),
        )

    def describe(self) -> ProviderStatus:
        """See `Summarizer.describe`."""
        place = f" at {strip_credentials(self._base_url)}" if self._base_url else ""
        return ProviderStatus(NAME, f"anthropic: {self.model}{place}; figures checked against the source")

    def close(self) -> None:
        """Give back the connections."""
        self._clients.close()
