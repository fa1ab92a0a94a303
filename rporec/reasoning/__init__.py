"""The text that the language model reads and writes: prompt, composed example, parser, truth check."""
