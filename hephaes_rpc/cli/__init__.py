"""The command line.  Modules import what they need where it is used, so that ``version`` and ``inspect`` start fast."""
