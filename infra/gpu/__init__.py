"""What is run by hand on a machine with a GPU."""
