"""What an agent remembers: memories, episodes and conversations."""
