"""What an analysis is worth: its errors, what each reading did, whether assumed errors fit, checks of the mathematics."""
