"""The `make bench-…` commands: how fast the parts are, as ratios within one run, and the worlds they run on."""
