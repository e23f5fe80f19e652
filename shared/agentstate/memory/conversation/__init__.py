"""Conversations: every turn kept, the newest verbatim in the prompt, the older ones as a summary made by a worker."""

from agentstate.memory.conversation.history import ConversationHistory

__all__ = ["ConversationHistory"]
