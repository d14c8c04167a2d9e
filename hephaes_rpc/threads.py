"""Threads that are there before they are needed: where the system starts no more of them, what is at work goes on."""

import asyncio
import os
import sys
import threading
from concurrent.futures import Executor, ThreadPoolExecutor


def standing(n_threads: int, name: str) -> ThreadPoolExecutor:
    """A pool that has all of its threads from the beginning."""
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix=name)
    fill(pool, n_threads)
    return pool


def fill(pool: Executor, n_threads: int) -> None:
    """Have a fresh pool start all of its threads, by work for all of them at once."""
    filled = threading.Event()
    for _ in range(n_threads):
        pool.submit(filled.wait)
    filled.set()


def watch_children_without_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Have an event loop hear of the end of child processes without a thread for each, as later Pythons do."""
    if sys.platform == "linux" and sys.version_info < (3, 12):
        try:
            os.close(os.pidfd_open(os.getpid()))
        except OSError:  # an old kernel, or it is forbidden
            return
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(loop)
        asyncio.set_child_watcher(watcher)
