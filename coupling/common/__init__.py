"""What every room may import: errors that all ranks raise, files that appear whole or not at all.

It knows neither meshes nor mathematics. No other room is imported across the packages' borders except by `plugin`.
"""
