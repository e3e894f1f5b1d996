"""Between the model's state and the vectors of an analysis, at the analysis time and at the readings' own times."""
