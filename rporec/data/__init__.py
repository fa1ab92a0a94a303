"""From a source to training rows: read, clean, check, split. Knows nothing of models."""
