"""The command line.  Every module imports what it needs when it is used, so that ``version`` or ``inspect`` start fast."""
