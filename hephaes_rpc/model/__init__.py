"""The nouns, as they travel: frozen attrs classes whose fields are the names on the wire.

Times are aware datetimes in UTC; ``*_ns`` are int64 nanoseconds since the Unix epoch; durations seconds; sizes bytes.

A module per group of them: a process that needs one group does not make the classes of all.
"""
