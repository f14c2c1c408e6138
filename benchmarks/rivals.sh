#!/usr/bin/env bash
# benchmarks/rivals.sh [FOLDER]: makes a virtual environment (default: build/rivals) with the libraries that
# benchmarks/run.sh measures beside Tessera, from the package index that pip is set to. A library that cannot be
# had is left out, and said so. NumPy and Dask come first; PyTorch is large.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$root/build/rivals}
python=${PYTHON:-python3}

"$python" -m venv "$folder" || {
  echo "rivals: $python makes no virtual environment; on Debian and Ubuntu install python3-venv" >&2
  exit 1
}
missing=()
get() {
  "$folder/bin/python" -m pip install --quiet --no-input "$@" || missing+=("$1")
}
get numpy scipy
get "dask[array]" distributed xarray flox netCDF4 zarr
get numexpr
get jax
# The processor's build is a tenth of the size, where its index can be reached.
"$folder/bin/python" -m pip install --quiet --no-input --retries 0 --timeout 15 torch \
  --index-url https://download.pytorch.org/whl/cpu 2>/dev/null || get torch
"$folder/bin/python" -m pip list --format=freeze
[ ${#missing[@]} -eq 0 ] || echo "rivals: without ${missing[*]}" >&2
