"""NumPy, with SciPy's filters and netCDF4: whole arrays in memory."""
from __future__ import annotations

import glob
import importlib.metadata
import os

import numpy as np
from inputs import fill
from scipy.ndimage import uniform_filter1d


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "netCDF4")}


def finish(results):
    return results if isinstance(results, tuple) else (results,)


def to_numpy(result) -> np.ndarray:
    return np.asarray(result)


def matrix(function):
    """A workload that reads one square matrix."""
    def make(sizes):
        x = fill((sizes.n, sizes.n))
        return lambda: function(x)
    return make


def vector(function):
    def make(sizes):
        x = fill((sizes.n,))
        return lambda: function(x)
    return make


def five_points(x):
    out = x.copy()
    out[1:] += x[:-1]
    out[:-1] += x[1:]
    out[:, 1:] += x[:, :-1]
    out[:, :-1] += x[:, 1:]
    out *= 0.2
    return out


def matmul(sizes):
    x, y = fill((sizes.n, sizes.n)), fill((sizes.n, sizes.n), 1)
    return lambda: x @ y


def panels(sizes):
    # Row panels are one array here; column panels are arrays of their own.
    x = fill((sizes.n, sizes.n))
    def work():
        parts = [np.ascontiguousarray(x[:, i:i + sizes.chunk]) for i in range(0, sizes.n, sizes.chunk)]
        return (Panels(parts),)
    return work


class Panels:
    """Column panels that count as one array."""

    def __init__(self, parts):
        self.parts = parts

    def __array__(self, dtype=None, copy=None):
        return np.concatenate(self.parts, axis=1)


def tiles_to_rows(sizes):
    n, chunk = sizes.n, sizes.chunk
    x = fill((n, n))
    tiles = [[np.ascontiguousarray(x[i:i + chunk, j:j + chunk]) for j in range(0, n, chunk)]
             for i in range(0, n, chunk)]
    return lambda: np.block(tiles)


def tall_svd(sizes):
    x = fill((sizes.rows, sizes.n))
    def work():
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        return s, u, vt
    return work


def cube_sums(sizes):
    x = fill((sizes.n,) * 3)
    return lambda: (x.sum(axis=0), x.sum(axis=1), x.sum(axis=2))


def double_difference(sizes):
    x, y = fill((sizes.n, sizes.n)), fill((sizes.n, sizes.n), 1)
    return lambda: x[1:, 1:] - y[:-1, :-1]


def anomaly(sizes):
    x = fill((sizes.days, sizes.lat, 2 * sizes.lat))
    def work():
        by_year = x.reshape(-1, sizes.year, sizes.lat, 2 * sizes.lat)
        rest = (by_year - by_year.mean(axis=0)).reshape(x.shape)
        return rest.mean(axis=0), rest[-1]
    return work


def ensemble_mean(sizes):
    shape = (sizes.members, sizes.starts, sizes.leads, sizes.levels, sizes.lat, 2 * sizes.lat)
    x = fill(shape)
    return lambda: x.mean(axis=0).reshape((-1, 12) + shape[2:]).mean(axis=0)


def quadratic_means(sizes):
    shape = (sizes.times, sizes.lat, 2 * sizes.lat)
    u, v = fill(shape), fill(shape, 1)
    return lambda: ((u * u).mean(axis=0), (v * v).mean(axis=0), (u * v).mean(axis=0))


def hourly_climatology(sizes):
    x = fill((sizes.years, sizes.days, sizes.hours, sizes.lat, 2 * sizes.lat))
    return lambda: uniform_filter1d(x.mean(axis=0), 61, axis=0, mode="wrap")


def zonal_covariance(sizes):
    shape = (sizes.days * sizes.hours, sizes.levels, sizes.lat, 2 * sizes.lat)
    u, v, t = fill(shape), fill(shape, 1), fill(shape, 2)

    def eddies(x):
        return x - x.mean(axis=-1, keepdims=True)

    def daily(product):
        return product.mean(axis=-1).reshape(sizes.days, sizes.hours, sizes.levels, sizes.lat).mean(axis=1)

    def work():
        vp = eddies(v)
        return daily(eddies(u) * vp), daily(vp * eddies(t))
    return work


def netcdf_mean(sizes):
    import netCDF4
    paths = sorted(glob.glob(f"{sizes.folder}/pile_{sizes.level}_{sizes.files}x{sizes.lat}/*.nc"))
    def work():
        total, count = 0.0, 0
        for path in paths:
            with netCDF4.Dataset(path) as file:
                values = file["t"][:]
                total = total + values.sum(axis=0, dtype=np.float64)
                count += values.shape[0]
        return total / count
    return work


def netcdf_to_pile(sizes):
    import netCDF4
    paths = sorted(glob.glob(f"{sizes.folder}/pile_{sizes.level}_{sizes.files}x{sizes.lat}/*.nc"))
    mean_of = netcdf_mean(sizes)
    folder = f"{sizes.folder}/anomaly_numpy"
    os.makedirs(folder, exist_ok=True)
    def work():
        mean = np.asarray(mean_of(), dtype=np.float32)
        for number, path in enumerate(paths):
            with netCDF4.Dataset(path) as file, netCDF4.Dataset(f"{folder}/a_{number:02}.nc", "w") as out:
                for name, extent in (("time", None), ("lat", sizes.lat), ("lon", sizes.lon)):
                    out.createDimension(name, extent)
                time = out.createVariable("time", "f8", ("time",))
                time.units = file["time"].units
                time[:] = file["time"][:]
                t = out.createVariable("t", "f4", ("time", "lat", "lon"), fill_value=np.nan,
                                       chunksizes=(1, sizes.lat, sizes.lon))
                values = np.asarray(file["t"][:]) - mean
                t[:] = values
        return values[-1]
    return work


def first_result(sizes):
    x = fill((sizes.n,))
    return lambda: (x + 1).sum()


def overlap_window(sizes):
    # One array: the window is read from it.
    i = np.arange(sizes.n, dtype=np.float64)
    half = sizes.n // 2
    def work():
        x = i[:, None] * sizes.n + i
        return x[half:half + 10, half:half + 10].copy()
    return work


WORKLOADS = {
    "sum": matrix(lambda x: x.sum()),
    "sum_axis_0": matrix(lambda x: x.sum(axis=0)),
    "std_axis_0": matrix(lambda x: x.std(axis=0)),
    "min_and_max": matrix(lambda x: (x.min(), x.max())),
    "add_transpose": matrix(lambda x: x + x.T),
    "sum_of_centred": matrix(lambda x: ((x + x.T) - x.mean(axis=0)).sum()),
    "transpose": matrix(lambda x: np.ascontiguousarray(x.T)),
    "cumsum_axis_0": matrix(lambda x: x.cumsum(axis=0)),
    "rechunk": panels,
    "stencil": matrix(five_points),
    "ten_operations": vector(lambda x: ((((x * 2.0 + 1.0) * x - 3.0) * 0.5 + x) * x - 0.25) * 1.5 + x),
    "ten_functions": vector(lambda x: (np.tanh(np.log(np.exp(x * 0.5) + 1.0) * x - 0.25) + x) * 2.0 + 1.0),
    "normal": lambda sizes: lambda: np.random.default_rng(1).standard_normal(sizes.n),
    "uniform": lambda sizes: lambda: np.random.default_rng(1).random(sizes.n),
    "matmul": matmul,
    "product_deviation": matrix(lambda x: (x.dot(x.T + 1) - x.mean()).std()),
    "svd": tall_svd,
    "centred_kept": matrix(lambda x: x + x.T - x.mean(axis=0)),
    "gram_singular_values": matrix(lambda x: np.linalg.svd(x.dot(x.T), compute_uv=False)),
    "sums_of_axes": cube_sums,
    "double_difference": double_difference,
    "product_sum": matrix(lambda a: (a @ a.T).sum()),
    "product_sum_spilled": matrix(lambda a: (a @ a.T).sum()),
    "tiles_to_rows": tiles_to_rows,
    "anomaly": anomaly,
    "ensemble_mean": ensemble_mean,
    "quadratic_means": quadratic_means,
    "hourly_climatology": hourly_climatology,
    "zonal_covariance": zonal_covariance,
    "netcdf_mean": netcdf_mean,
    "netcdf_mean_deflated": netcdf_mean,
    "netcdf_to_pile": netcdf_to_pile,
    "first_result": first_result,
    "overlap_window": overlap_window,
}
