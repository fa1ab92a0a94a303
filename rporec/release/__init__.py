"""What leaves the pipeline: package manifest, model card, registry, run record, summary."""
