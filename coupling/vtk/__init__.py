"""VTU and PVTU files, read and written by VTK, whose sizes are checked before VTK believes them."""
