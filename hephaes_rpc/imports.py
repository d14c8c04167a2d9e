"""What imports cost beside the modules themselves."""

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def importing() -> Iterator[None]:
    """Nobody searches for garbage while modules are imported: what they make stays, and searching it all again and
    again took a tenth of a start.  If there are more modules afterwards, later searches leave out what is there.
    """
    searched, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        if searched:
            gc.enable()


def import_lsp_types() -> None:
    """Import ``lsprotocol.types`` so that attrs makes each of its classes when the first object of it is made.

    pygls imports it for two classes of 554, and making them all took half of the start of a sidecar.  For this process
    only: before its first object, attrs and cattrs do not know such a class.
    """
    import attrs

    define, making = attrs.define, threading.RLock()

    def define_late(cls: type | None = None, **options: Any) -> Any:
        if cls is None or options or cls.__module__ != "lsprotocol.types" or cls.__bases__ != (object,):
            return define(cls, **options)
        cls.__init__ = _late_init(cls, define, making)  # type: ignore[misc]
        return cls

    attrs.define = define_late  # type: ignore[assignment]
    try:
        import_module("lsprotocol.types")
    finally:
        attrs.define = define


def _late_init(cls: type, define: Callable[..., type], making: threading.RLock) -> Callable[..., None]:
    def late_init(self: object, *args: Any, **kwargs: Any) -> None:
        with making:
            if cls.__init__ is late_init:  # type: ignore[misc]
                define(cls, slots=False, init=True)
        cls.__init__(self, *args, **kwargs)  # type: ignore[misc]

    return late_init
