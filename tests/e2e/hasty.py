"""A sidecar that gives up on others after two seconds, and on its workers after five, in the place of half a minute."""

import sys

if __name__ == "__main__":
    from hephaes_rpc import stdio

    wire = stdio.claim()
    from hephaes_rpc.cli.serve import serve
    from hephaes_rpc.jobs import queue

    queue.HEARTBEAT_S, queue.LEASE_S, queue.SILENT_S = 0.3, 2.0, 5.0
    sys.exit(serve(sys.argv[1:], wire))
