"""What an empty task costs Dask's threads: grids, chains and trees as bench_tasks has them.

usage: tasks_dask.py TASKS
"""
from __future__ import annotations

import json
import sys
import time

import dask
from dask.threaded import get


def nothing(*_):
    return None


def grid(count: int) -> dict:
    width = 100
    graph: dict = {(0, i): (nothing,) for i in range(width)}
    for layer in range(1, count // width):
        for i in range(width):
            low = min(i, width - 2)
            graph[layer, i] = (nothing, (layer - 1, low), (layer - 1, low + 1))
    return graph


def chain(count: int) -> dict:
    width = 100
    graph: dict = {(0, i): (nothing,) for i in range(width)}
    graph |= {(layer, i): (nothing, (layer - 1, i)) for layer in range(1, count // width) for i in range(width)}
    return graph


def tree(count: int) -> dict:
    width = 1 << (count.bit_length() - 2)
    graph: dict = {(0, i): (nothing,) for i in range(width)}
    layer = 0
    while width > 1:
        width, layer = width // 2, layer + 1
        graph |= {(layer, i): (nothing, (layer - 1, 2 * i), (layer - 1, 2 * i + 1)) for i in range(width)}
    return graph


def last_layer(graph: dict) -> list:
    last = max(layer for layer, _ in graph)
    return [key for key in graph if key[0] == last]


def main() -> None:
    count = int(sys.argv[1])
    answer: dict = {"benchmark": "tasks_dask", "dask": dask.__version__}
    for name, make in (("grid", grid), ("chain", chain), ("tree", tree)):
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            graph = make(count)
            get(graph, last_layer(graph))
            times.append(1e6 * (time.perf_counter() - begin) / len(graph))
        answer[name] = {"tasks": len(graph), "us_per_task": sorted(times)[1], "us_per_task_raw": times}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
