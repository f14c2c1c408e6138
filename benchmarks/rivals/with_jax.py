"""JAX on the processor: whole arrays, each workload one compiled function."""
from __future__ import annotations

import importlib.metadata
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from inputs import fill  # noqa: E402

jax.config.update("jax_enable_x64", True)


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("jax", "jaxlib")}


def finish(results):
    return jax.block_until_ready(results if isinstance(results, tuple) else (results,))


def to_numpy(result) -> np.ndarray:
    return np.asarray(result)


def compiled(function, *shapes):
    """A workload of one jitted function over inputs of these shapes, given the sizes."""
    def make(sizes):
        inputs = [jnp.asarray(fill(shape(sizes), seed)) for seed, shape in enumerate(shapes)]
        call = jax.jit(lambda *arrays: function(sizes, *arrays))
        return lambda: call(*inputs)
    return make


def square(sizes):
    return sizes.n, sizes.n


def line(sizes):
    return (sizes.n,)


def matrix(function):
    return compiled(lambda _, x: function(x), square)


def vector(function):
    return compiled(lambda _, x: function(x), line)


def random(draw):
    def make(sizes):
        call = jax.jit(lambda key: draw(key, (sizes.n,), dtype=jnp.float64))
        key = jax.random.key(1)
        return lambda: call(key)
    return make


def five_points(x):
    p = jnp.pad(x, 1)
    return (p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] + x) * 0.2


def tall_svd(_, x):
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    return s, u, vt


def anomaly(s, x):
    by_year = x.reshape(-1, s.year, s.lat, 2 * s.lat)
    rest = (by_year - by_year.mean(axis=0)).reshape(x.shape)
    return rest.mean(axis=0), rest[-1]


def ensemble_mean(_, x):
    return x.mean(axis=0).reshape((-1, 12) + x.shape[2:]).mean(axis=0)


def hourly_climatology(_, x):
    clim = x.mean(axis=0)
    padded = jnp.concatenate([jnp.zeros_like(clim[:1]), clim[-30:], clim, clim[:30]])
    sums = jnp.cumsum(padded, axis=0)
    return (sums[61:] - sums[:-61]) / 61


def zonal_covariance(s, u, v, t):
    up, vp, tp = (x - x.mean(axis=-1, keepdims=True) for x in (u, v, t))
    def daily(product):
        return product.mean(axis=-1).reshape(s.days, s.hours, s.levels, s.lat).mean(axis=1)
    return daily(up * vp), daily(vp * tp)


def fields(s):
    return s.days * s.hours, s.levels, s.lat, 2 * s.lat


def series(s):
    return s.times, s.lat, 2 * s.lat


WORKLOADS = {
    "sum": matrix(lambda x: x.sum()),
    "sum_axis_0": matrix(lambda x: x.sum(axis=0)),
    "std_axis_0": matrix(lambda x: x.std(axis=0)),
    "min_and_max": matrix(lambda x: (x.min(), x.max())),
    "add_transpose": matrix(lambda x: x + x.T),
    "sum_of_centred": matrix(lambda x: ((x + x.T) - x.mean(axis=0)).sum()),
    "transpose": matrix(lambda x: x.T),
    "cumsum_axis_0": matrix(lambda x: jnp.cumsum(x, axis=0)),
    "stencil": matrix(five_points),
    "ten_operations": vector(lambda x: ((((x * 2.0 + 1.0) * x - 3.0) * 0.5 + x) * x - 0.25) * 1.5 + x),
    "ten_functions": vector(lambda x: (jnp.tanh(jnp.log(jnp.exp(x * 0.5) + 1.0) * x - 0.25) + x) * 2.0 + 1.0),
    "normal": random(jax.random.normal),
    "uniform": random(jax.random.uniform),
    "matmul": compiled(lambda _, x, y: x @ y, square, square),
    "product_deviation": matrix(lambda x: (x.dot(x.T + 1) - x.mean()).std()),
    "svd": compiled(tall_svd, lambda s: (s.rows, s.n)),
    "centred_kept": matrix(lambda x: x + x.T - x.mean(axis=0)),
    "gram_singular_values": matrix(lambda x: jnp.linalg.svd(x.dot(x.T), compute_uv=False)),
    "sums_of_axes": compiled(lambda _, x: (x.sum(axis=0), x.sum(axis=1), x.sum(axis=2)),
                             lambda s: (s.n,) * 3),
    "double_difference": compiled(lambda _, x, y: x[1:, 1:] - y[:-1, :-1], square, square),
    "product_sum": matrix(lambda a: (a @ a.T).sum()),
    "product_sum_spilled": matrix(lambda a: (a @ a.T).sum()),
    "anomaly": compiled(anomaly, lambda s: (s.days, s.lat, 2 * s.lat)),
    "ensemble_mean": compiled(ensemble_mean, lambda s: (s.members, s.starts, s.leads, s.levels, s.lat,
                                                        2 * s.lat)),
    "quadratic_means": compiled(lambda _, u, v: ((u * u).mean(axis=0), (v * v).mean(axis=0),
                                                 (u * v).mean(axis=0)), series, series),
    "hourly_climatology": compiled(hourly_climatology,
                                   lambda s: (s.years, s.days, s.hours, s.lat, 2 * s.lat)),
    "zonal_covariance": compiled(zonal_covariance, fields, fields, fields),
    "first_result": vector(lambda x: (x + 1).sum()),
}
