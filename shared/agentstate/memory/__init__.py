"""The tiers of an agent's memory: facts and their search, episodes, conversations, and the working context.

The durable store is the source of truth; Qdrant and Redis hold copies that can be made again. Import from the folders:
each command and worker then loads the parts that it uses and no others.
"""
