"""Cases to run and change; each folder has a README of its own."""
