"""One thin file per pipeline stage: load params, call rporec, write outputs atomically, log one closing line."""
