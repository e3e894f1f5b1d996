"""The case file: its sections, their keys, types and meanings."""
