"""The language model before reinforcement learning: its weights, its fine-tuning, its generation."""
