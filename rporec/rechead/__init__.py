"""The recommendation head: history and reasoning in, log-probabilities over the whole catalogue out."""
