"""What looks closer at the last run of a profile: `make ablate` and `make study`, resumable by arm and seed."""
