"""Fuzzing of what reads foreign bytes: the readers of containers, the parsers of definitions, the decoders."""
