"""The figures of xm-mini: measured, kept as JSON, and drawn; one command a figure (see __main__)."""
