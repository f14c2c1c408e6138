#!/usr/bin/env python3
"""The rows of bench_gpu_rows by other libraries, on whole arrays of the same sizes on one GPU.

usage: rivals.py --output FILE [--libraries cupy,torch,jax] [--timeout SECONDS] [--quick] [--dtypes LIST]

Every library runs in a process of its own, which a time limit ends; what it has measured until then stays.
`first_seconds` is the first run, `seconds` the median of those after it. Products are of full precision.
FILE holds one JSON object: for each library its version and its rows, or why there are none.
"""
import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

DTYPES = ("float64", "float32")
LIBRARIES = ("cupy", "torch", "jax")


def sizes(dtype, quick):
    """Extents as in rows.cpp: of the square array, of the product, of product_deviation."""
    if quick:
        return {"edge": 960, "product": 512, "deviation": 512}
    return {"edge": 40960 if dtype == "float32" else 30720, "product": 32768, "deviation": 16384}


def ten_operations(x):
    return ((((x * 2.0 + 1.0) * x - 3.0) * 0.5 + x) * x - 0.25) * 1.5 + x


def five_points(x):
    return (x[1:-1, 1:-1] + x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]) * 0.2


class NumpyLike:
    """CuPy; and NumPy, which checks this program where there is no GPU."""

    def __init__(self, name):
        self.xp = __import__(name)
        self.is_cupy = name == "cupy"
        if self.is_cupy:
            self.device = self.xp.cuda.runtime.getDeviceProperties(0)["name"].decode()
        else:
            self.device = "host"

    def sync(self, result):
        if self.is_cupy:
            self.xp.cuda.Device().synchronize()

    def tidy(self):
        if self.is_cupy:
            self.xp.get_default_memory_pool().free_all_blocks()

    def uniform(self, n, dtype):
        if self.is_cupy:
            return self.xp.random.random((n, n), dtype=dtype)
        return self.xp.random.default_rng(1).random((n, n), dtype=dtype)

    def rows(self, n, dtype):
        xp = self.xp

        def functions(x):
            return (xp.tanh(xp.log(xp.exp(x * 0.5) + 1.0) * x - 0.25) + x) * 2.0 + 1.0

        def normal(x):
            if self.is_cupy:
                return xp.random.standard_normal((n, n), dtype=dtype)
            return xp.random.default_rng(1).standard_normal((n, n), dtype=dtype)

        return {
            "sum": lambda x: x.sum(),
            "sum_axis_0": lambda x: x.sum(axis=0),
            "sum_axis_1": lambda x: x.sum(axis=1),
            "std_axis_0": lambda x: x.std(axis=0),
            "min_and_max": lambda x: (x.min(), x.max()),
            "add_transpose": lambda x: x + x.T,
            "sum_of_centred": lambda x: ((x + x.T) - x.mean(axis=0)).sum(),
            "ten_operations": ten_operations,
            "ten_functions": functions,
            "normal": normal,
            "cumsum_axis_0": lambda x: xp.cumsum(x, axis=0),
            "transpose": lambda x: xp.ascontiguousarray(x.T),
            "stencil": five_points,
        }

    def products(self):
        return {
            "matmul": lambda x, y: x @ y,
            "product_deviation": lambda x, _: (x.dot(x.T + 1) - x.mean()).std(),
        }


class Torch:
    def __init__(self, _):
        import torch

        self.torch = torch
        self.where = "cuda" if torch.cuda.is_available() else "cpu"
        if self.where == "cpu" and not os.environ.get("TESSERA_TEST_RIVALS_ON_HOST"):
            raise RuntimeError("torch sees no GPU")
        torch.backends.cuda.matmul.allow_tf32 = False
        self.device = torch.cuda.get_device_name() if self.where == "cuda" else "host"

    def sync(self, result):
        if self.where == "cuda":
            self.torch.cuda.synchronize()

    def tidy(self):
        if self.where == "cuda":
            self.torch.cuda.empty_cache()

    def uniform(self, n, dtype):
        return self.torch.rand((n, n), dtype=getattr(self.torch, dtype), device=self.where)

    def rows(self, n, dtype):
        torch = self.torch

        def functions(x):
            return (torch.tanh(torch.log(torch.exp(x * 0.5) + 1.0) * x - 0.25) + x) * 2.0 + 1.0

        return {
            "sum": lambda x: x.sum(),
            "sum_axis_0": lambda x: x.sum(dim=0),
            "sum_axis_1": lambda x: x.sum(dim=1),
            "std_axis_0": lambda x: x.std(dim=0, unbiased=False),
            "min_and_max": lambda x: (x.min(), x.max()),
            "add_transpose": lambda x: x + x.T,
            "sum_of_centred": lambda x: ((x + x.T) - x.mean(dim=0)).sum(),
            "ten_operations": ten_operations,
            "ten_functions": functions,
            "normal": lambda x: torch.randn((n, n), dtype=x.dtype, device=self.where),
            "cumsum_axis_0": lambda x: torch.cumsum(x, dim=0),
            "transpose": lambda x: x.T.contiguous(),
            "stencil": five_points,
        }

    def products(self):
        return {
            "matmul": lambda x, y: x @ y,
            "product_deviation": lambda x, _: (x @ (x.T + 1) - x.mean()).std(unbiased=False),
        }


class Jax:
    def __init__(self, _):
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_default_matmul_precision", "highest")
        self.jax = jax
        device = jax.devices()[0]
        if device.platform == "cpu" and not os.environ.get("TESSERA_TEST_RIVALS_ON_HOST"):
            raise RuntimeError("jax sees no GPU")
        self.device = device.device_kind

    def sync(self, result):
        self.jax.block_until_ready(result)

    def tidy(self):
        pass  # arrays are freed as their last names go

    def uniform(self, n, dtype):
        make = self.jax.jit(lambda key: self.jax.random.uniform(key, (n, n), dtype=dtype))
        return make(self.jax.random.key(1))

    def rows(self, n, dtype):
        jax, jnp = self.jax, self.jax.numpy

        def functions(x):
            return (jnp.tanh(jnp.log(jnp.exp(x * 0.5) + 1.0) * x - 0.25) + x) * 2.0 + 1.0

        rows = {
            "sum": lambda x: x.sum(),
            "sum_axis_0": lambda x: x.sum(axis=0),
            "sum_axis_1": lambda x: x.sum(axis=1),
            "std_axis_0": lambda x: x.std(axis=0),
            "min_and_max": lambda x: (x.min(), x.max()),
            "add_transpose": lambda x: x + x.T,
            "sum_of_centred": lambda x: ((x + x.T) - x.mean(axis=0)).sum(),
            "ten_operations": ten_operations,
            "ten_functions": functions,
            "cumsum_axis_0": lambda x: jnp.cumsum(x, axis=0),
            "transpose": lambda x: x.T,
            "stencil": five_points,
        }
        compiled = {name: jax.jit(function) for name, function in rows.items()}
        # The key is an argument, or the compiler might draw the numbers.
        draw = jax.jit(lambda key: jax.random.normal(key, (n, n), dtype=dtype))
        key = jax.random.key(5)
        return compiled | {"normal": lambda x: draw(key)}

    def products(self):
        return {
            "matmul": self.jax.jit(lambda x, y: x @ y),
            "product_deviation": self.jax.jit(lambda x, _: (x.dot(x.T + 1) - x.mean()).std()),
        }


BACKENDS = {"cupy": NumpyLike, "numpy": NumpyLike, "torch": Torch, "jax": Jax}


def version_of(library):
    for package in (library, "cupy-cuda13x", "cupy-cuda12x"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return getattr(sys.modules.get(library), "__version__", "unknown")


def measure(backend, function, arguments, repeat):
    """Seconds of the first run and of the `repeat` runs after it."""
    seconds = []
    backend.sync(arguments)
    for _ in range(repeat + 1):
        begin = time.perf_counter()
        result = function(*arguments)
        backend.sync(result)
        seconds.append(time.perf_counter() - begin)
        del result
    return seconds


class Record:
    """What a library has done so far, in a file that is replaced after every row."""

    def __init__(self, path):
        self.path = path
        self.data = {"rows": []}

    def write(self):
        with open(self.path + ".next", "w", encoding="utf-8") as out:
            json.dump(self.data, out)
        os.replace(self.path + ".next", self.path)

    def add(self, backend, name, dtype, function, arguments, repeat):
        row = {"name": name, "dtype": dtype}
        try:
            seconds = measure(backend, function, arguments, repeat)
            row.update(first_seconds=seconds[0], seconds=statistics.median(seconds[1:]), all_seconds=seconds[1:])
        except Exception as error:  # out of memory, or what the library does not have
            row["error"] = f"{type(error).__name__}: {error}"[:300]
        backend.tidy()
        self.data["rows"].append(row)
        self.write()


def run_library(library, path, dtypes, quick):
    """Measures all rows of one library, in this process."""
    record = Record(path)
    try:
        backend = BACKENDS[library](library)
    except Exception as error:
        record.data["problem"] = f"{type(error).__name__}: {error}"[:300]
        record.write()
        return
    record.data.update(version=version_of(library), device=backend.device)
    record.write()
    for dtype in dtypes:
        extent = sizes(dtype, quick)
        x = backend.uniform(extent["edge"], dtype)
        for name, function in backend.rows(extent["edge"], dtype).items():
            record.add(backend, name, dtype, function, (x,), 5)
        del x
        backend.tidy()
    for dtype in dtypes:
        extent = sizes(dtype, quick)
        products = backend.products()
        for name, size in (("product_deviation", "deviation"), ("matmul", "product")):
            x, y = (backend.uniform(extent[size], dtype) for _ in range(2))
            record.add(backend, name, dtype, products[name], (x, y), 2)
            del x, y
            backend.tidy()
    record.data["complete"] = True
    record.write()


def run_all(options):
    """Runs this program once for each library."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        for library in options.libraries.split(","):
            path = os.path.join(folder, library + ".json")
            command = [sys.executable, os.path.abspath(__file__), "--one", library, "--output", path,
                       "--dtypes", options.dtypes] + (["--quick"] if options.quick else [])
            problem = None
            try:
                done = subprocess.run(command, timeout=options.timeout, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True, check=False)
                if done.returncode != 0:
                    problem = f"ended with {done.returncode}: {done.stderr.strip()[-300:]}"
            except subprocess.TimeoutExpired:
                problem = f"ended after {options.timeout} s"
            result = {"rows": []}
            if os.path.exists(path):
                with open(path, encoding="utf-8") as written:
                    result = json.load(written)
            if problem:
                result["problem"] = problem
            out[library] = result
            with open(options.output, "w", encoding="utf-8") as file:
                json.dump(out, file, indent=1)
            print(f"rivals: {library} {result.get('version', '')}: {len(result['rows'])} rows"
                  + (f"; {result['problem']}" if "problem" in result else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--output", required=True)
    parser.add_argument("--libraries", default=",".join(LIBRARIES))
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_library(options.one, options.output, options.dtypes.split(","), options.quick)
    else:
        run_all(options)


if __name__ == "__main__":
    main()
