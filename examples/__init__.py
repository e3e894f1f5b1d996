"""Cases to run and change; each folder has its own README."""
