"""PyTorch on the processor: whole tensors; chains of elementwise operations through torch.compile."""
from __future__ import annotations

import importlib.metadata

import numpy as np
import torch
from inputs import fill, threads

torch.set_num_threads(threads())


def versions() -> dict[str, str]:
    return {"torch": importlib.metadata.version("torch")}


def finish(results):
    return results if isinstance(results, tuple) else (results,)


def to_numpy(result) -> np.ndarray:
    return result.numpy()


def over(function, *shapes):
    """A workload of one function over inputs of these shapes, given the sizes."""
    def make(sizes):
        inputs = [torch.from_numpy(fill(shape(sizes), seed)) for seed, shape in enumerate(shapes)]
        return lambda: function(sizes, *inputs)
    return make


def square(sizes):
    return sizes.n, sizes.n


def line(sizes):
    return (sizes.n,)


def matrix(function):
    return over(lambda _, x: function(x), square)


def compiled(function, shape):
    def make(sizes):
        x = torch.from_numpy(fill(shape(sizes)))
        call = torch.compile(function)
        return lambda: call(x)
    return make


def five_points(x):
    p = torch.nn.functional.pad(x, (1, 1, 1, 1))
    return (p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] + x) * 0.2


def random(draw):
    return lambda sizes: lambda: draw(sizes.n, dtype=torch.float64)


def tall_svd(_, x):
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    return s, u, vt


def anomaly(s, x):
    by_year = x.reshape(-1, s.year, s.lat, 2 * s.lat)
    rest = (by_year - by_year.mean(dim=0)).reshape(x.shape)
    return rest.mean(dim=0), rest[-1]


def ensemble_mean(_, x):
    return x.mean(dim=0).reshape((-1, 12) + tuple(x.shape[2:])).mean(dim=0)


def hourly_climatology(_, x):
    clim = x.mean(dim=0)
    padded = torch.cat([torch.zeros_like(clim[:1]), clim[-30:], clim, clim[:30]])
    sums = padded.cumsum(dim=0)
    return (sums[61:] - sums[:-61]) / 61


def zonal_covariance(s, u, v, t):
    up, vp, tp = (x - x.mean(dim=-1, keepdim=True) for x in (u, v, t))
    def daily(product):
        return product.mean(dim=-1).reshape(s.days, s.hours, s.levels, s.lat).mean(dim=1)
    return daily(up * vp), daily(vp * tp)


def fields(s):
    return s.days * s.hours, s.levels, s.lat, 2 * s.lat


def series(s):
    return s.times, s.lat, 2 * s.lat


WORKLOADS = {
    "sum": matrix(lambda x: x.sum()),
    "sum_axis_0": matrix(lambda x: x.sum(dim=0)),
    "std_axis_0": matrix(lambda x: x.std(dim=0, correction=0)),
    "min_and_max": matrix(torch.aminmax),
    "add_transpose": matrix(lambda x: x + x.T),
    "sum_of_centred": matrix(lambda x: ((x + x.T) - x.mean(dim=0)).sum()),
    "transpose": matrix(lambda x: x.T.contiguous()),
    "cumsum_axis_0": matrix(lambda x: x.cumsum(dim=0)),
    "stencil": compiled(five_points, square),
    "ten_operations": compiled(
        lambda x: ((((x * 2.0 + 1.0) * x - 3.0) * 0.5 + x) * x - 0.25) * 1.5 + x, line),
    "ten_functions": compiled(
        lambda x: (torch.tanh(torch.log(torch.exp(x * 0.5) + 1.0) * x - 0.25) + x) * 2.0 + 1.0, line),
    "normal": random(torch.randn),
    "uniform": random(torch.rand),
    "matmul": over(lambda _, x, y: x @ y, square, square),
    "product_deviation": matrix(lambda x: (x @ (x.T + 1) - x.mean()).std(correction=0)),
    "svd": over(tall_svd, lambda s: (s.rows, s.n)),
    "centred_kept": matrix(lambda x: x + x.T - x.mean(dim=0)),
    "gram_singular_values": matrix(lambda x: torch.linalg.svdvals(x @ x.T)),
    "sums_of_axes": over(lambda _, x: (x.sum(dim=0), x.sum(dim=1), x.sum(dim=2)), lambda s: (s.n,) * 3),
    "double_difference": over(lambda _, x, y: x[1:, 1:] - y[:-1, :-1], square, square),
    "product_sum": matrix(lambda a: (a @ a.T).sum()),
    "product_sum_spilled": matrix(lambda a: (a @ a.T).sum()),
    "anomaly": over(anomaly, lambda s: (s.days, s.lat, 2 * s.lat)),
    "ensemble_mean": over(ensemble_mean, lambda s: (s.members, s.starts, s.leads, s.levels, s.lat,
                                                    2 * s.lat)),
    "quadratic_means": over(lambda _, u, v: ((u * u).mean(dim=0), (v * v).mean(dim=0), (u * v).mean(dim=0)),
                            series, series),
    "hourly_climatology": over(hourly_climatology, lambda s: (s.years, s.days, s.hours, s.lat, 2 * s.lat)),
    "zonal_covariance": over(zonal_covariance, fields, fields, fields),
    "first_result": over(lambda _, x: (x + 1).sum(), line),
}
