"""The twin experiment that `make demo` runs."""
