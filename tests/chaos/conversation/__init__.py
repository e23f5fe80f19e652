"""Conversations under fire: many writers, a provider that fails and invents, workers that are killed."""
