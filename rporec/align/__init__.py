"""Reinforcement learning of the backbone with the frozen Rechead as the verifiable reward."""
