"""Rankers without reasoning that every model is held against, fitted in the same run."""
