"""The gate that every model's summary passes: no figure, identifier or address that its source lacks.

A summary with an invented figure is made once more with the offending values named. When that fails too, or
the model declines, the offline digest takes its place and says so; the paid tokens are still counted.
"""

from __future__ import annotations

from dataclasses import replace

from agentstate.errors import InvalidInput, ProviderAnswerInvalid, ProviderError
from agentstate.providers.embedding.embedder import ProviderStatus
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.providers.summaries.evidence import Evidence
from agentstate.providers.summaries.facts import find_facts
from agentstate.providers.summaries.summarizer import ContentRefused, Source, Summarizer, Summary, SummaryRequest, Usage

TRIES = 2


class GatedSummarizer:
    """Puts the gate over any summarizer; the fallback must need no provider."""

    def __init__(self, inner: Summarizer, fallback: Summarizer | None = None) -> None:
        self._inner = inner
        self._fallback = fallback or DigestSummarizer()

    @property
    def name(self) -> str:
        """Name of the summarizer behind the gate."""
        return self._inner.name

    @property
    def max_source_tokens(self) -> int:
        """See `Summarizer.max_source_tokens`."""
        return self._inner.max_source_tokens

    def summarize(self, request: SummaryRequest) -> Summary:
        """See `Summarizer.summarize`; a transient failure of the provider is raised, not papered over."""
        if not request.turns:
            raise InvalidInput("there is no turn to summarize.")
        usage = Usage()
        try:
            summary, note = self._summarize_supported(request, usage), ""
        except ProviderError as error:
            usage.add_calls(error.input_tokens, error.output_tokens, error.calls)
            if not isinstance(error, ContentRefused | ProviderAnswerInvalid):
                usage.attach_to(error)
                raise
            summary = self._fallback.summarize(replace(request, rejected=()))
            note = f"{self.name} was not used: {error.message}"
        return replace(
            summary,
            facts=find_facts(request.turns, request.previous_facts),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            calls=usage.calls,
            note=note,
        )

    def describe(self) -> ProviderStatus:
        """See `Summarizer.describe`."""
        return self._inner.describe()

    def close(self) -> None:
        """Give back connections."""
        self._inner.close()
        self._fallback.close()

    def _summarize_supported(self, request: SummaryRequest, usage: Usage) -> Summary:
        """Return a summary whose figures the source supports; raise ProviderAnswerInvalid after `TRIES` tries."""
        evidence = Evidence(Source(request).evidence_text)
        rejected: tuple[str, ...] = request.rejected
        for _ in range(TRIES):
            summary = self._inner.summarize(replace(request, rejected=rejected))
            usage.add_calls(summary.input_tokens, summary.output_tokens, summary.calls)
            invented = evidence.find_unsupported(summary.text)
            if not invented:
                return summary
            rejected = tuple(dict.fromkeys([*rejected, *invented]))
        raise ProviderAnswerInvalid(f"{self.name} wrote figures that the source lacks: {', '.join(rejected[:10])}")
