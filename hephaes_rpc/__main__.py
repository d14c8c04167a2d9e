"""Entry of the program.  ``serve``, ``worker`` and ``script`` claim stdin and stdout before all other imports."""

import os
import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    # Arrow's own pools keep what was freed; batches of one size come and go, which malloc serves as fast from less.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # NumPy's BLAS starts a thread per core when it is imported; nothing here multiplies matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    command = sys.argv[1] if len(sys.argv) > 1 else None
    if command == "worker":
        from hephaes_rpc import stdio

        wire = stdio.claim()
        from hephaes_rpc.imports import importing

        with importing():
            from hephaes_rpc.jobs import worker

        return worker.run(wire)
    if command == "script":
        from hephaes_rpc import stdio

        wire = stdio.claim()
        from hephaes_rpc.engine.computations import runner

        return runner.run(wire.read_fd, wire.write_fd)
    if command == "serve" and not {"-h", "--help"}.intersection(sys.argv):
        from hephaes_rpc import stdio

        wire = stdio.claim()
        from hephaes_rpc.imports import importing

        with importing():
            from hephaes_rpc.cli.serve import serve

        return serve(sys.argv[2:], wire)
    from hephaes_rpc.cli.commands import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
