"""What is being worked on, for every line that is logged meanwhile."""

from contextvars import ContextVar

log_context: ContextVar[str | None] = ContextVar("log_context", default=None)
"""``request <id> <method>`` or ``job <id>``; threads that work for one take it over by ``copy_context``."""
