"""The tiers of an agent's memory: working, episodic, semantic; and conversations.

The durable store holds the truth; Qdrant and Redis hold what can be made again or is meant to pass.
"""

from agentstate.memory.backlog import EmbeddingBacklog
from agentstate.memory.context import ContextBudget
from agentstate.memory.conversation import ConversationHistory
from agentstate.memory.conversation.messages import Messages
from agentstate.memory.conversation.summarization import ConversationSummarizer, SummaryRun
from agentstate.memory.conversation.turns import Conversation, NewTurn, StoredSummary, Turn
from agentstate.memory.counts import ConversationCounts, MemoryCounts, conversation_counts, memory_counts
from agentstate.memory.episodes import Episode, EpisodicStore
from agentstate.memory.hits import Hit, Recall
from agentstate.memory.index import MemoryIndex
from agentstate.memory.ingest import Ingest, IngestReport
from agentstate.memory.pipeline import BatchResult, EmbeddingPipeline
from agentstate.memory.recall import HybridMemory, MemoryRecall
from agentstate.memory.records import MemoryRecord, NewMemory
from agentstate.memory.semantic import Receipt, SemanticMemory
from agentstate.memory.transcripts import Problem, read_transcript

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
    "conversation_counts",
    "memory_counts",
    "read_transcript",
]
