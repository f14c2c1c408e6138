"""The inputs of the workloads, bit for bit those of benchmarks/floors.cpp, and samples of results."""
from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

PIECE = 1 << 17
SAMPLES = 64


def threads() -> int:
    return len(os.sched_getaffinity(0))


def fill(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Numbers spread evenly over [0, 1): splitmix64 of each element's position."""
    out = np.empty(int(np.prod(shape)), dtype=np.float64)
    first = np.uint64((0x9E3779B97F4A7C15 + seed * 0xD1342543DE82EF95) % (1 << 64))

    def piece(begin: int) -> None:
        end = min(out.size, begin + PIECE)
        h = np.arange(begin, end, dtype=np.uint64)
        h += first
        h ^= h >> np.uint64(30)
        h *= np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(27)
        h *= np.uint64(0x94D049BB133111EB)
        h ^= h >> np.uint64(31)
        h >>= np.uint64(11)
        np.multiply(h, 2.0**-53, out=out[begin:end])

    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(piece, range(0, out.size, PIECE)))
    return out.reshape(shape)


def sample(values: np.ndarray, moments: bool) -> dict:
    """Shape, and evenly spaced elements in C order, or mean and standard deviation of all."""
    flat = np.ascontiguousarray(values, dtype=np.float64).reshape(-1)
    if moments:
        chosen = [float(flat.mean()), float(flat.std())]
    else:
        count = min(flat.size, SAMPLES)
        at = [i * (flat.size - 1) // (count - 1) if count > 1 else 0 for i in range(count)]
        chosen = [float(flat[i]) for i in at]
    return {"shape": list(values.shape), "sample": chosen}
