"""From a window's readings to innovations: selection, quality control, H and R, biases of stations, and the table."""
