"""numexpr, which NumPy's users take for long elementwise expressions."""
from __future__ import annotations

import importlib.metadata

import numexpr
from inputs import fill, threads
from with_numpy import finish, to_numpy  # noqa: F401

numexpr.set_num_threads(threads())


def versions() -> dict[str, str]:
    return {"numexpr": importlib.metadata.version("numexpr")}


def vector(expression):
    def make(sizes):
        x = fill((sizes.n,))  # noqa: F841
        return lambda: numexpr.evaluate(expression, local_dict={"x": x})
    return make


WORKLOADS = {
    "ten_operations": vector("((((x * 2.0 + 1.0) * x - 3.0) * 0.5 + x) * x - 0.25) * 1.5 + x"),
    "ten_functions": vector("(tanh(log(exp(x * 0.5) + 1.0) * x - 0.25) + x) * 2.0 + 1.0"),
}
