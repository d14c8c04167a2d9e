"""What imports cost beside the modules themselves."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
