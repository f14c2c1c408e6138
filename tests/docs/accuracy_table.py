"""Writes docs/accuracy.md, or says that it is not what the tables of bounds say:
python3 tests/docs/accuracy_table.py [--check] SOURCE"""

import pathlib
import re
import sys

HEAD = """# Accuracy

Made by `tests/docs/accuracy_table.py` of `core/scalar_ops.def` and `kernels/cuda/library_bounds.def`.

Errors are in units in the last place (ulp) of the result, the largest there are. On the host, tests hold every row at every
exponent to its bound, in float32 and float64, for each SIMD target. On GPUs, functions are CUDA's own, and their bounds are
the largest errors that NVIDIA found (CUDA C++ Programming Guide); they count from the correctly rounded result, which is half
a unit from the true one. Host and GPU are apart by the sum of it all at most: `engine_gpu_test` holds them to that where there is
a GPU, which no GPU has run yet.

All other operations on real numbers are exact or correctly rounded (`hypot` within one unit), from one text for
host and GPU: their bits are the same, and so are those of random draws. Reductions and products add up in a fixed
order on each, but not in the same one.

- `logaddexp` is within 4 units of the larger of its operands and its result on the host. On a GPU it is made of CUDA's `exp` and
  `log1p`, and so are complex functions of real ones; these have no bounds of their own there.
- `floor_divide` may be off by one where the quotient is that close to a whole number, on both.

| function | host | GPU float32 | GPU float64 | apart, float32 | apart, float64 |
| --- | --- | --- | --- | --- | --- |
"""


def rows(path, macro, fields):
    pattern = re.compile("^" + macro + r"\(" + r",\s*".join([r"([\w.]+)"] * fields) + r"\)", re.MULTILINE)
    return pattern.findall(path.read_text(encoding="utf-8"))


def page(source):
    host = {name: float(ulp) for _, name, _, _, ulp in rows(source / "core/scalar_ops.def", "TESSERA_SCALAR_OP", 5)}
    out = HEAD
    for name, single, double in rows(source / "kernels/cuda/library_bounds.def", "TESSERA_LIBRARY_BOUND", 3):
        own = host[name]
        out += (f"| `{name}` | {own:g} | {single} | {double} | {own + float(single) + 0.5:g} | "
                f"{own + float(double) + 0.5:g} |\n")
    return out


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    source = pathlib.Path(arguments[0])
    target = source / "docs/accuracy.md"
    text = page(source)
    if "--check" not in sys.argv:
        target.write_text(text, encoding="utf-8")
        return 0
    if target.read_text(encoding="utf-8") == text:
        return 0
    print(f"{target} is not what the tables say; try python3 tests/docs/accuracy_table.py {source}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
