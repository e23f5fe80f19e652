"""The tiers of an agent's memory: working, episodic, semantic; and conversations.

The durable store holds the truth; Qdrant and Redis hold what can be made again or is meant to pass.
"""

from agentstate.memory.context import ContextBudget
from agentstate.memory.conversation import ConversationHistory
from agentstate.memory.conversation.messages import Messages
from agentstate.memory.conversation.summarization import ConversationSummarizer, SummaryRun
from agentstate.memory.conversation.turns import Conversation, NewTurn, StoredSummary, Turn
from agentstate.memory.embedding.queue import EmbeddingBacklog
from agentstate.memory.embedding.worker import BatchResult, EmbeddingPipeline
from agentstate.memory.episodes.store import Episode, EpisodicStore
from agentstate.memory.facts.counts import ConversationCounts, MemoryCounts, count_conversations, count_memories
from agentstate.memory.facts.records import MemoryRecord, NewMemory
from agentstate.memory.facts.service import Receipt, SemanticMemory
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.ingest.ingest import Ingest, IngestReport
from agentstate.memory.ingest.transcripts import Problem, read_transcript
from agentstate.memory.search.hits import Hit, Recall
from agentstate.memory.search.recall import HybridMemory, MemoryRecall

__all__ = [
    "BatchResult",
    "ContextBudget",
    "Conversation",
    "ConversationCounts",
    "ConversationHistory",
    "ConversationSummarizer",
    "EmbeddingBacklog",
    "EmbeddingPipeline",
    "Episode",
    "EpisodicStore",
    "Hit",
    "HybridMemory",
    "Ingest",
    "IngestReport",
    "MemoryCounts",
    "MemoryIndex",
    "MemoryRecall",
    "MemoryRecord",
    "Messages",
    "NewMemory",
    "NewTurn",
    "Problem",
    "Recall",
    "Receipt",
    "SemanticMemory",
    "StoredSummary",
    "SummaryRun",
    "Turn",
    "count_conversations",
    "count_memories",
    "read_transcript",
]
