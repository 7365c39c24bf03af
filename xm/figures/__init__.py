"""Figures: one value in, one figure out; they compute layout and nothing else."""
