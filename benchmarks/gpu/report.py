#!/usr/bin/env python3
"""Puts together what gpu_check.sh measured: one JSON object and one table.

usage: report.py PARTS_FOLDER OUTPUT_FOLDER

Reads whatever is there so far: facts.txt, nvidia_smi.csv, info.txt, stages.tsv, tests.tsv, rows.json of
bench_gpu_rows and rivals.json. Writes gpu_check.json and gpu_check.txt.
"""
import csv
import json
import os
import sys

LIBRARIES = ("cupy", "torch", "jax")
MIB = 1 << 20
# What the issue of the CUDA backend asks for, as parts of a ceiling measured in the same run.
MEMORY_ROWS = ("sum", "sum_axis_0", "sum_axis_1", "std_axis_0", "min_and_max", "add_transpose", "ten_operations")
TARGETS = (
    ("fused elementwise and sums, 256 MiB chunks: 0.85 of the device's copy", 0.85,
     lambda row: row["name"] in MEMORY_ROWS and row["chunk_bytes"] >= 230 * MIB),
    ("chunked matmul: 0.93 of one cuBLAS call", 0.93, lambda row: row["name"] == "matmul"),
    ("an array four times the budget: 0.75 of the link", 0.75, lambda row: row["name"].startswith("spilled")),
)


def read_text(path):
    """The text of a file, empty when there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def read_json(path):
    """The object in a file, None when there is none or it is cut short."""
    try:
        return json.loads(read_text(path))
    except ValueError:
        return None


def read_table(path, *names):
    """Lines of values with tabs between them, as a list of objects."""
    lines = [line.split("\t") for line in read_text(path).splitlines() if line]
    return [dict(zip(names, line)) for line in lines]


def collect(folder):
    """Everything in the folder as one object."""
    def part(name):
        return os.path.join(folder, name)

    smi = list(csv.reader(read_text(part("nvidia_smi.csv")).splitlines(), skipinitialspace=True))
    return {
        "check": "gpu_check",
        "bundle": read_text(part("manifest.txt")).splitlines()[:2],
        "machine": dict(line.split(": ", 1) for line in read_text(part("facts.txt")).splitlines() if ": " in line),
        "nvidia_smi": [dict(zip(smi[0], row)) for row in smi[1:]] if len(smi) > 1 else smi,
        "info": read_text(part("info.txt")),
        "stages": read_table(part("stages.tsv"), "stage", "status", "seconds", "text"),
        "tests": read_table(part("tests.tsv"), "name", "status", "seconds", "text"),
        "benchmark": read_json(part("rows.json")),
        "rivals": read_json(part("rivals.json")),
    }


def rival_rows(rivals):
    """(library, row, dtype) -> the row."""
    return {(library, row["name"], row["dtype"]): row
            for library, result in (rivals or {}).items() for row in result.get("rows", [])}


def rate_text(row):
    if "flops_per_s" in row:
        return f"{row['flops_per_s'] / 1e12:.1f} TF/s"
    if "bytes_per_s" in row:
        return f"{row['bytes_per_s'] / 1e9:.0f} GB/s"
    return ""


def right_text(row):
    if "error" in row:
        return "FAILED"
    if "skipped" in row:
        return "skipped"
    return "right" if row.get("checked") else "WRONG"


def milliseconds(seconds):
    return f"{1e3 * seconds:.2f}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def row_lines(benchmark, rivals):
    """The table of rows: ours, what part of the ceiling that is, and the other libraries' times."""
    head = ["row", "dtype", "chunk", "first", "ms", "rate", "ceiling", "part", "result"]
    table = [head + [f"{library} ms" for library in LIBRARIES] + ["best/ours"]]
    theirs = rival_rows(rivals)
    for row in benchmark.get("rows", []):
        if "name" not in row:
            table.append([row["key"], "", "", "", "", "", "", "", "FAILED"])
            continue
        line = [row["name"], row["dtype"], f"{row['chunk_bytes'] / MIB:.0f}"]
        if "seconds" in row:
            line += [milliseconds(row["first_seconds"]), milliseconds(row["seconds"]), rate_text(row),
                     row.get("ceiling", ""), f"{row['ratio']:.2f}" if "ratio" in row else ""]
        else:
            line += [""] * 5
        line.append(right_text(row))
        best = None
        for library in LIBRARIES:
            other = theirs.get((library, row["name"], row["dtype"]), {})
            line.append(milliseconds(other["seconds"]) if "seconds" in other else "-")
            if "seconds" in other:
                best = min(best or other["seconds"], other["seconds"])
        line.append(f"{best / row['seconds']:.2f}" if best and row.get("seconds") else "")
        table.append(line)
    widths = [max(len(line[i]) for line in table if i < len(line)) for i in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) if i < 3 else cell.rjust(width)
                      for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in table]


def target_lines(benchmark, rivals):
    """What was aimed at, and what of it was reached."""
    lines = []
    rows = [row for row in benchmark.get("rows", []) if "ratio" in row]
    for words, least, belongs in TARGETS:
        parts = [(row["ratio"], row) for row in rows if belongs(row)]
        if not parts:
            lines.append(f"  {words}: not measured")
            continue
        below = [f"{row['name']} {row['dtype']} {ratio:.2f}" for ratio, row in parts if ratio < least]
        lines.append(f"  {words}: {len(parts) - len(below)} of {len(parts)} rows"
                     + (f"; below: {', '.join(below)}" if below else ""))
    theirs = rival_rows(rivals)
    compared, slower = 0, []
    for row in benchmark.get("rows", []):
        other = theirs.get(("cupy", row.get("name"), row.get("dtype")), {})
        if "seconds" in row and "seconds" in other:
            compared += 1
            if row["seconds"] > other["seconds"]:
                chunk = f"{row['chunk_bytes'] / MIB:.0f} MiB"
                slower.append(f"{row['name']} {row['dtype']} {chunk} {row['seconds'] / other['seconds']:.2f} times")
    lines.append("  never slower than CuPy: " + (f"{compared - len(slower)} of {compared} rows" if compared
                                                 else "not measured")
                 + (f"; slower: {', '.join(slower)}" if slower else ""))
    return lines


def ceiling_lines(ceilings):
    products = ceilings.get("product_flops_per_s", {})
    lines = [f"  device copy {ceilings['copy_bytes_per_s'] / 1e9:.0f} GB/s (read and written), link "
             f"{ceilings['to_device_bytes_per_s'] / 1e9:.1f} GB/s to the device, "
             f"{ceilings['to_host_bytes_per_s'] / 1e9:.1f} GB/s back"]
    lines += [f"  one cuBLAS product {what}: {rate / 1e12:.1f} TFLOP/s" for what, rate in products.items()]
    lines += [f"  {what}: {words}" for what, words in ceilings.get("failed", {}).items()]
    return lines


def device_lines(data):
    for device in data["nvidia_smi"]:
        if isinstance(device, dict):
            yield "  " + ", ".join(f"{key} {value}" for key, value in device.items())
        else:
            yield "  " + " ".join(device)
    benchmark = data["benchmark"] or {}
    if "cuda" in benchmark:
        yield f"  {benchmark.get('device')}, {benchmark.get('architecture')}; {benchmark['cuda']}"
    else:
        yield from (line for line in data["info"].splitlines() if line.strip().startswith(("CUDA:", "no device:")))
    yield "  " + "; ".join(f"{key} {value}" for key, value in data["machine"].items())
    yield "  " + "; ".join([f"tessera {benchmark.get('version', '')}".rstrip(), *data["bundle"]])


def to_text(data):
    """The readable table."""
    out = ["Tessera on a GPU", "", "Device and versions", *device_lines(data), "", "Stages"]
    for stage in data["stages"]:
        out.append(f"  {stage['stage']}: {stage['status']} ({stage['seconds']} s) {stage.get('text', '')}".rstrip())
    if data["tests"]:
        out += ["", "Tests labelled gpu"]
        out += [f"  {test['name']}: {test['status']} ({test['seconds']} s) {test.get('text', '')}".rstrip()
                for test in data["tests"]]
    benchmark = data["benchmark"]
    if benchmark:
        if "ceilings" in benchmark:
            out += ["", "Ceilings", *ceiling_lines(benchmark["ceilings"])]
        out += ["", "Rows: medians in ms, `first` with compiling; part: of the ceiling's rate; chunks in MiB",
                *row_lines(benchmark, data["rivals"])]
        wrong = [row for row in benchmark.get("rows", []) if "error" in row or row.get("checked") is False]
        out += [f"  {row['key']}: {row.get('error', 'far from the host by ' + str(row.get('distance')))}"
                for row in wrong]
        if benchmark.get("running"):
            out.append(f"  ended while this ran: {benchmark['running']}")
        out += ["", "Targets", *target_lines(benchmark, data["rivals"])]
    for library, result in (data["rivals"] or {}).items():
        out.append(f"  {library} {result.get('version', '')}: {len(result.get('rows', []))} rows"
                   + (f"; {result['problem']}" if "problem" in result else ""))
    return "\n".join(out) + "\n"


def main():
    if len(sys.argv) != 3:
        print("usage: report.py PARTS_FOLDER OUTPUT_FOLDER", file=sys.stderr)
        return 2
    data = collect(sys.argv[1])
    with open(os.path.join(sys.argv[2], "gpu_check.json"), "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.write("\n")
    with open(os.path.join(sys.argv[2], "gpu_check.txt"), "w", encoding="utf-8") as file:
        file.write(to_text(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
