"""One window: background, quality control, observation operator, analysis, gates, and what follows from them."""
