"""Columns that functions of the user's make of features: each script runs in a process of its own, with limits."""
