"""The training of xm-mini: its recipe, its word list, and what is measured of it."""
