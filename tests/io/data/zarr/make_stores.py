"""Writes the Zarr stores that the tests read, by zarr-python (3.1.6): small arrays of arange values in C
order, one for each version, compressor and dtype; the last chunk of each is not written."""

import shutil
from pathlib import Path

import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ZstdCodec

folder = Path(__file__).resolve().parent


def write(name, dtype, **options):
    shutil.rmtree(folder / name, ignore_errors=True)
    z = zarr.create_array(str(folder / name), shape=(5, 7), chunks=(2, 3), dtype=dtype, **options)
    values = np.arange(35).reshape(5, 7).astype(dtype)
    z[:4, :] = values[:4, :]
    z[4:, :6] = values[4:, :6]


write("v2_none", "<f8", zarr_format=2, compressors=None, fill_value=-1.0)
write("v2_zlib", ">i4", zarr_format=2, compressors=numcodecs.Zlib(1), fill_value=-1)
write("v2_blosc", "<f4", zarr_format=2, compressors=numcodecs.Blosc("lz4", 5), fill_value=-1.0,
      chunk_key_encoding={"name": "v2", "separator": "/"})
write("v2_zstd", "<c16", zarr_format=2, compressors=numcodecs.Zstd(1), fill_value=-1.0)
write("v3_default", "<f4", fill_value=-1.0, dimension_names=["y", "x"])
write("v3_gzip", "<i2", compressors=GzipCodec(level=1), fill_value=-1)
write("v3_big", "<i8", serializer=BytesCodec(endian="big"), compressors=ZstdCodec(level=1), fill_value=-1)
write("v3_blosc", "u1", compressors=BloscCodec(cname="zstd"), fill_value=255)
