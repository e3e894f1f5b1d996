"""The street's twin experiment with the real Fluidity."""
