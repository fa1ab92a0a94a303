"""How it runs on one machine and on many: set-up, workspaces, the driver of `make run`, the DAGs' commands."""
