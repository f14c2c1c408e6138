"""Dask arrays on threads, in the chunks that Tessera has; xarray and flox for grouped statistics.

Results are persisted: their chunks stay in memory, as Tessera's do. BLAS runs on one thread, as Dask's
documentation asks for (run.py sets the variables).
"""
from __future__ import annotations

import glob
import importlib.metadata
import os
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr
from inputs import fill, threads
from scipy.ndimage import uniform_filter1d

dask.config.set(scheduler="threads", num_workers=threads())


def versions() -> dict[str, str]:
    names = ("dask", "numpy", "xarray", "flox", "netCDF4")
    found = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    return {name: importlib.metadata.version(name) for name in names if name.lower() in found}


def finish(results):
    return dask.persist(*(results if isinstance(results, tuple) else (results,)))


def to_numpy(result) -> np.ndarray:
    return np.asarray(result.compute() if hasattr(result, "compute") else result)


def chunked(shape, chunks, seed: int = 0):
    """An array whose chunks lie in memory, each by itself."""
    return da.from_array(fill(shape, seed), chunks=chunks, name=False).map_blocks(np.copy).persist()


def square(sizes, seed: int = 0):
    return chunked((sizes.n, sizes.n), (sizes.chunk, sizes.chunk), seed)


def matrix(function):
    def make(sizes):
        x = square(sizes)
        return lambda: function(x)
    return make


def vector(function):
    def make(sizes):
        x = chunked((sizes.n,), (sizes.chunk,))
        return lambda: function(x)
    return make


def on_block(x):
    # Of a block with one element more on every side, which are cut off again afterwards.
    out = np.zeros_like(x)
    inner = out[1:-1, 1:-1]
    np.add(x[:-2, 1:-1], x[2:, 1:-1], out=inner)
    inner += x[1:-1, :-2]
    inner += x[1:-1, 2:]
    inner += x[1:-1, 1:-1]
    inner *= 0.2
    return out


def panels(sizes):
    x = chunked((sizes.n, sizes.n), (sizes.chunk, sizes.n))
    return lambda: x.rechunk((sizes.n, sizes.chunk))


def matmul(sizes):
    x, y = square(sizes), square(sizes, 1)
    return lambda: x @ y


def tall_svd(sizes):
    x = chunked((sizes.rows, sizes.n), (sizes.chunk, sizes.n))
    def work():
        u, s, vt = da.linalg.svd(x)
        return s, u, vt
    return work


def cube_sums(sizes):
    x = chunked((sizes.n,) * 3, (sizes.chunk,) * 3)
    return lambda: (x.sum(axis=0), x.sum(axis=1), x.sum(axis=2))


def sum_of_random(sizes):
    def work():
        x = da.random.default_rng(1).random((sizes.n, sizes.n), chunks=(sizes.chunk_rows, sizes.chunk_cols))
        return x.mean()
    return work


def pad_rechunk(x):
    padded = da.pad(x, [(0, 1), (0, 0), (0, 0)], mode="wrap")
    return padded.rechunk((-1,) + padded.chunks[1:])


def vorticity(sizes):
    n, depth = sizes.n, sizes.depth
    def work():
        rng = da.random.default_rng(1)
        u = rng.random((n, n, depth), chunks=(n, n, 1))
        v = rng.random((n, n, depth), chunks=(n, n, 1))
        dx = rng.random((n + 1, n), chunks=(n + 1, n))
        dy = rng.random((n + 1, n), chunks=(n + 1, n))
        return (dx[..., None] * pad_rechunk(u) - dy[..., None] * pad_rechunk(v)).mean()
    return work


def double_difference(sizes):
    x, y = square(sizes), square(sizes, 1)
    return lambda: x[1:, 1:] - y[:-1, :-1]


def tiles_to_rows(sizes):
    x = square(sizes)
    return lambda: x.rechunk((sizes.rows, sizes.n))


def measured(block_info=None):
    """cos(i) cos(j) over one block."""
    (i0, i1), (j0, j1) = block_info[None]["array-location"]
    return np.outer(np.cos(np.arange(i0, i1)), np.cos(np.arange(j0, j1)))


def squares(x):
    return np.einsum("ij,ij->i", x, x)[:, None]


def available_memory() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def swap_axes(sizes):
    n, chunk = sizes.n, sizes.chunk
    if 8 * n * n * 5 // 2 > available_memory() * 7 // 10:
        raise MemoryError("not run: threads do not spill, and 2.5 times the array would not fit this machine")
    starts = da.core.normalize_chunks((n, chunk), shape=(n, n))
    def work():
        x = da.map_blocks(measured, chunks=starts, dtype=np.float64)
        return x.rechunk((chunk, n)).map_blocks(squares, chunks=(chunk, 1), dtype=np.float64)
    return work


def field(x, *dims, **coords):
    return xr.DataArray(x, dims=dims, coords=coords)


def anomaly(sizes):
    data = chunked((sizes.days, sizes.lat, 2 * sizes.lat), (sizes.chunk, sizes.lat, 2 * sizes.lat))
    x = field(data, "time", "lat", "lon", day=("time", np.arange(sizes.days) % sizes.year))
    def work():
        groups = x.groupby("day")
        rest = groups - groups.mean("time")
        return rest.mean("time").data, rest[-1].data
    return work


def ensemble_mean(sizes):
    shape = (sizes.members, sizes.starts, sizes.leads, sizes.levels, sizes.lat, 2 * sizes.lat)
    data = chunked(shape, (1, 1) + shape[2:])
    x = field(data, "member", "start", "lead", "level", "lat", "lon",
              month=("start", np.arange(sizes.starts) % 12))
    return lambda: x.mean("member").groupby("month").mean("start").data


def quadratic_means(sizes):
    shape, chunks = (sizes.times, sizes.lat, 2 * sizes.lat), (sizes.chunk, sizes.lat, 2 * sizes.lat)
    u, v = chunked(shape, chunks), chunked(shape, chunks, 1)
    return lambda: ((u * u).mean(axis=0), (v * v).mean(axis=0), (u * v).mean(axis=0))


def hourly_climatology(sizes):
    shape = (sizes.years, sizes.days, sizes.hours, sizes.lat, 2 * sizes.lat)
    x = chunked(shape, (1, sizes.chunk) + shape[2:])
    def work():
        return x.mean(axis=0).map_overlap(uniform_filter1d, depth={0: 30}, boundary={0: "periodic"},
                                          size=61, axis=0, dtype=np.float64)
    return work


def zonal_covariance(sizes):
    shape = (sizes.days * sizes.hours, sizes.levels, sizes.lat, 2 * sizes.lat)
    u, v, t = (field(chunked(shape, (sizes.hours,) + shape[1:], seed), "time", "level", "lat", "lon")
               for seed in range(3))
    def work():
        up, vp, tp = (x - x.mean("lon") for x in (u, v, t))
        def daily(product):
            return product.mean("lon").coarsen(time=sizes.hours).mean().data
        return daily(up * vp), daily(vp * tp)
    return work


def netcdf_mean(sizes):
    paths = sorted(glob.glob(f"{sizes.folder}/pile_{sizes.level}_{sizes.files}x{sizes.lat}/*.nc"))
    def work():
        with xr.open_mfdataset(paths, combine="nested", concat_dim="time", engine="netcdf4",
                               decode_times=False, chunks={"time": -1}) as files:
            return files["t"].mean("time").compute().data
    return work


def netcdf_to_pile(sizes):
    paths = sorted(glob.glob(f"{sizes.folder}/pile_{sizes.level}_{sizes.files}x{sizes.lat}/*.nc"))
    folder = f"{sizes.folder}/anomaly_dask"
    os.makedirs(folder, exist_ok=True)
    def work():
        with xr.open_mfdataset(paths, combine="nested", concat_dim="time", engine="netcdf4",
                               decode_times=False, chunks={"time": -1}) as files:
            rest = files["t"] - files["t"].mean("time")
            pieces = [rest.isel(time=slice(n * sizes.times, (n + 1) * sizes.times)).to_dataset(name="t")
                      for n in range(len(paths))]
            for piece in pieces:
                piece["t"].encoding = {"chunksizes": (1, sizes.lat, sizes.lon)}
            written = [f"{folder}/a_{n:02}.nc" for n in range(len(paths))]
            xr.save_mfdataset(pieces, written, engine="netcdf4")
        with xr.open_dataset(written[-1], decode_times=False) as last:
            return last["t"].isel(time=-1).values
    return work


def zarr_rechunk(sizes):
    import shutil
    import numcodecs
    source = f"{sizes.folder}/rows_{sizes.n}"
    target = f"{sizes.folder}/columns_dask"
    def work():
        shutil.rmtree(target, ignore_errors=True)
        x = da.from_zarr(source).rechunk((sizes.n, sizes.chunk))
        da.to_zarr(x, target, zarr_format=2, compressors=numcodecs.Zstd(1))
        return da.from_zarr(target)[-1].compute()
    return work


def first_result(sizes):
    x = chunked((sizes.n,), (sizes.n,))
    return lambda: (x + 1).sum()


def overlap_window(sizes):
    half = sizes.n // 2
    def work():
        i = da.arange(sizes.n, chunks=sizes.chunk, dtype=np.float64)
        x = i[:, None] * float(sizes.n) + i
        y = x.map_overlap(lambda block: block, depth=1, boundary="none", dtype=np.float64)
        return y[half:half + 10, half:half + 10]
    return work


WORKLOADS = {
    "sum": matrix(lambda x: x.sum()),
    "sum_axis_0": matrix(lambda x: x.sum(axis=0)),
    "std_axis_0": matrix(lambda x: x.std(axis=0)),
    "min_and_max": matrix(lambda x: (x.min(), x.max())),
    "add_transpose": matrix(lambda x: x + x.T),
    "sum_of_centred": matrix(lambda x: ((x + x.T) - x.mean(axis=0)).sum()),
    "transpose": matrix(lambda x: x.T.map_blocks(np.ascontiguousarray)),
    "cumsum_axis_0": matrix(lambda x: x.cumsum(axis=0)),
    "rechunk": panels,
    "stencil": matrix(lambda x: x.map_overlap(on_block, depth=1, boundary=0.0, dtype=np.float64)),
    "ten_operations": vector(lambda x: ((((x * 2.0 + 1.0) * x - 3.0) * 0.5 + x) * x - 0.25) * 1.5 + x),
    "ten_functions": vector(lambda x: (da.tanh(da.log(da.exp(x * 0.5) + 1.0) * x - 0.25) + x) * 2.0 + 1.0),
    "normal": lambda s: lambda: da.random.default_rng(1).standard_normal(s.n, chunks=s.chunk),
    "uniform": lambda s: lambda: da.random.default_rng(1).random(s.n, chunks=s.chunk),
    "matmul": matmul,
    "product_deviation": matrix(lambda x: (x.dot(x.T + 1) - x.mean()).std()),
    "svd": tall_svd,
    "centred_kept": matrix(lambda x: x + x.T - x.mean(axis=0)),
    # da.linalg.svd takes arrays in one chunk along an axis.
    "gram_singular_values": matrix(lambda x: da.linalg.svd(x.dot(x.T).rechunk({1: -1}))[1]),
    "sums_of_axes": cube_sums,
    "sum_thin": sum_of_random,
    "sum_square": sum_of_random,
    "vorticity": vorticity,
    "double_difference": double_difference,
    "product_sum": matrix(lambda a: (a @ a.T).sum()),
    "product_sum_spilled": matrix(lambda a: (a @ a.T).sum()),
    "tiles_to_rows": tiles_to_rows,
    "swap_axes_in_memory": swap_axes,
    "swap_axes_spilled": swap_axes,
    "swap_axes_by_tiles": swap_axes,
    "anomaly": anomaly,
    "ensemble_mean": ensemble_mean,
    "quadratic_means": quadratic_means,
    "hourly_climatology": hourly_climatology,
    "zonal_covariance": zonal_covariance,
    "netcdf_mean": netcdf_mean,
    "netcdf_mean_deflated": netcdf_mean,
    "netcdf_to_pile": netcdf_to_pile,
    "zarr_rechunk": zarr_rechunk,
    "first_result": first_result,
    "overlap_window": overlap_window,
}
