"""``make compare``: the reference engine (hephaes 0.3.0) and this one on the same logs and specs, value by value.

Not part of the test suite: it installs the reference into an environment of its own.  ``cases`` says what is run,
``datasets`` brings what both wrote into one form, ``comparison`` walks the values, and ``differences`` is the closed
list of what may differ and why, each with a check that explains the value.  Whatever is not on that list fails.
"""
