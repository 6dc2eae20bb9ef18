"""Calls of peers in a process of their own, which some models end."""

import concurrent.futures
import multiprocessing

WORKERS = []
ENDED = "the peer ended its process"


def alone(function, *arguments):
    """What the function gives, or a text where it ended its process."""
    if not WORKERS:
        context = multiprocessing.get_context("spawn")
        WORKERS.append(concurrent.futures.ProcessPoolExecutor(1, context))
    try:
        return WORKERS[0].submit(function, *arguments).result()
    except concurrent.futures.process.BrokenProcessPool:
        WORKERS.clear()
        return ENDED
