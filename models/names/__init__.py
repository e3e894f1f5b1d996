"""Names that case files and networks choose by, known without torch; and the nearest to one that is not there."""
