"""What an analysis is worth: its errors, each reading's influence, the fit of assumed errors; checks of operators."""
