"""The BentoML service and its Bento."""
