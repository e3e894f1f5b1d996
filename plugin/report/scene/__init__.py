"""The last increment in three dimensions: its surfaces, and a picture of them drawn by a process of its own."""
