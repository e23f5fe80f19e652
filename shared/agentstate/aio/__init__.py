"""The same verbs for asyncio: classes written from the synchronous parts, and the threads that they run in."""
