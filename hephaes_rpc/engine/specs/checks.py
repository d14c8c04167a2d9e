"""Converters and validators that several classes of a spec use."""

from typing import Any

from attrs import field


def trimmed(value: Any) -> Any:
    """Text without blanks around it; anything else as it is, for the type check to refuse."""
    return value.strip() if isinstance(value, str) else value


def trimmed_or_none(value: Any) -> Any:
    """As ``trimmed``, None for blank text."""
    return (value.strip() or None) if isinstance(value, str) else value


def all_trimmed(value: Any) -> Any:
    """As ``trimmed`` for every item of a list."""
    return [trimmed(item) for item in value] if isinstance(value, list) else value


def distinct(value: Any) -> Any:
    """As ``all_trimmed``, each item once."""
    return list(dict.fromkeys(all_trimmed(value))) if isinstance(value, list) else value


def not_blank(_instance: object, attribute: Any, value: str) -> None:
    """Raise ValueError for text with nothing in it."""
    if not value.strip():
        raise ValueError(f"'{attribute.name}' must not be blank: {value!r}")


def topic_name() -> Any:
    """A field for the name of a topic."""
    return field(converter=trimmed, validator=not_blank)


def no_topic() -> Any:
    """A field for the name of a topic that may be left out."""
    return field(default=None, converter=trimmed_or_none)
