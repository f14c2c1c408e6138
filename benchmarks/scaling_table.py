#!/usr/bin/env python3
"""Makes docs/scaling.md of what bench_scaling printed.

usage: scaling_table.py scaling.json > docs/scaling.md
       scaling_table.py --check docs/scaling.md scaling.json
"""
import json
import re
import sys
import textwrap

HEAD = """# Scaling on a modelled cluster

This page is made by `benchmarks/scaling_table.py` of `benchmarks/results/scaling.json`. Its figures come from
`simulate()`: a model, not hardware. No cluster of GPUs has run any of this.

```sh no-run: minutes, on an idle machine
build/release/bin/bench_scaling > benchmarks/results/scaling.json
python3 benchmarks/scaling_table.py benchmarks/results/scaling.json > docs/scaling.md
```
"""


def gib(count):
    value = count / 2**30
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def rate(value):
    return f"{value / 1e9:.4g} GB/s"


def filled(text):
    """Paragraphs and items of a list broken into lines of one width."""
    out = []
    for part in re.split(r"\n(?=\n|- |## )", text):
        empty = "\n" if part.startswith("\n") else ""
        lines = " ".join(part.split())
        indent = "  " if lines.startswith("- ") else ""
        out.append(empty + textwrap.fill(lines, 118, subsequent_indent=indent, break_long_words=False,
                                         break_on_hyphens=False))
    return "\n".join(out) + "\n"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " ---: |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def planning_ms(row):
    return 1e3 * (row["plan_seconds"] + row["rank_planning_seconds"])


def network_seconds(row):
    """Of the busiest node's adapter, if it never waited."""
    return max(row["most_sent_bytes"], row["most_fetched_bytes"]) / row["network_bytes_per_s"]


def bound_seconds(row):
    return max(row["busy_seconds"] / row["gpus"], network_seconds(row))


class Results:
    def __init__(self, data):
        self.data = data
        self.model = data["model"]
        self.rows = data["rows"]
        self.networks = sorted({row["network_bytes_per_s"] for row in self.rows})

    def of(self, name, network):
        return [row for row in self.rows
                if row["name"] == name and row["network_bytes_per_s"] == network]

    def efficiency(self, row):
        """Work for each GPU and second, relative to the smallest cluster's."""
        first = self.of(row["name"], row["network_bytes_per_s"])[0]
        speed = [r["work"] / r["gpus"] / r["seconds"] for r in (row, first)]
        return speed[0] / speed[1]


def assumptions(results):
    data, model = results.data, results.model
    block = "512 MiB"
    return f"""## Assumptions

- A node has {data['gpus_per_node']} GPUs and one rank. A GPU has {gib(model['device_memory_bytes'])} GiB, reads and writes
  {model['memory_bytes_per_s'] / 1e12:.3g} TB/s of it, and computes {model['flops_per_s'] / 1e12:.3g} TFLOP/s (float64). A task takes
  the longer of the two times, and {1e6 * model['task_overhead_s']:.3g} us.
- Within a node a GPU receives {rate(model['link_bytes_per_s'])} (NVLink). Host memory takes {rate(model['host_bytes_per_s'])} from each
  GPU and holds {gib(model['host_memory_bytes'])} GiB of a node; the disk takes {rate(model['disk_bytes_per_s'])} from each.
- Between nodes each node sends and receives {rate(results.networks[0])} at once (one 400 Gb/s adapter), or
  {rate(results.networks[-1])} (one for each GPU). A message takes {1e6 * model['network_latency_s']:.3g} us. The network between the
  nodes has room for all of them.
- A node sends the blocks that it was asked for one after the other, in that order, and each to one other node; what all
  nodes need, its owner sends to all of them. Blocks go from GPU to GPU, and their buffers take no memory of their own.
- Each of the ranks has the dispatcher that its process would have: placement, reservations, evictions, announcements
  and requests are those of a real run, and a checker has seen that each task ran once and after its inputs
  (`"checked": {str(data['checked']).lower()}`). What dispatchers and messages take of a host's cores is not in the modelled time.
- Weak scaling: {data['blocks_per_gpu']:.0f} blocks of {block} for each GPU, of each array. The number of blocks along an axis of a
  square array is rounded, so that GPUs have the same number of them at 8, 32, 128, 512 and 2048 only.
- Arrays are drawn at random where they are needed first; results stay where they are made, but for single numbers, which
  every rank gets.
"""


def legend():
    return """## Columns

- *efficiency*: work (elements, or operations of the products) for each GPU and second, relative to 8 GPUs, which have no
  network to cross.
- *of the bound*: the longer of two times, of which neither can be undercut with this placement, to the modelled time:
  all tasks' times shared out evenly, and the bytes of the node that sends or receives most at its adapter's rate.
- *network*, *NVLink*: GiB that come to a GPU from other nodes and from GPUs of its node. *busiest node*: the most that a
  node sends or receives.
- *peak*: the most memory that a GPU's blocks take. *spilled*: GiB that a GPU writes to host memory and disk.
- *plan*: ms that this machine takes for what every rank does once, the plan and its order. *share*: ms for all that one
  rank's dispatcher decides during the run, its start included, for the slowest of the first, the middle and the last rank,
  each run again by itself. Both are the fastest of many times. *a task*: us of that for each of its tasks.
"""


def expression(results, entry):
    out = [f"## `{entry['expression']}`\n"]
    first = results.of(entry["name"], results.networks[0])
    refused = [row for row in first if "refused" in row]
    done = [row for row in first if "refused" not in row]
    wide = {row["gpus"]: row for row in results.of(entry["name"], results.networks[-1]) if "refused" not in row}
    head = ["GPUs", "array", "time s", "efficiency", "of the bound", "network GiB", "busiest node GiB",
            "NVLink GiB", "peak GiB", "spilled GiB", "with an adapter for each GPU: time s", "efficiency"]
    lines = []
    for row in done:
        other = wide[row["gpus"]]
        lines.append([
            str(row["gpus"]), f"{row['rows']:,} x {row['columns']:,}", f"{row['seconds']:.3g}",
            f"{results.efficiency(row):.2f}", f"{bound_seconds(row) / row['seconds']:.2f}",
            gib(row["network_bytes"] / row["gpus"]),
            gib(max(row["most_sent_bytes"], row["most_fetched_bytes"])),
            gib(row["within_nodes_bytes"] / row["gpus"]), gib(row["peak_device_bytes"]),
            gib(row["spilled_bytes"] / row["gpus"]), f"{other['seconds']:.3g}", f"{results.efficiency(other):.2f}"])
    out.append(table(head, lines))
    head = ["GPUs", "ranks", "tasks", "most tasks of a rank", "plan ms", "share ms", "a task us"]
    out.append(table(head, [[
        str(row["gpus"]), str(row["nodes"]), f"{row['tasks']:,}", f"{row['most_tasks_of_a_rank']:,}",
        f"{1e3 * row['plan_seconds']:.2f}", f"{1e3 * row['rank_planning_seconds']:.2f}",
        f"{1e6 * row['rank_planning_seconds'] / row['most_tasks_of_a_rank']:.2f}"] for row in done]))
    if refused:
        row = refused[0]
        out.append(f"Refused from {row['gpus']} GPUs on, for {row['rows']:,} x {row['columns']:,} before anything runs:\n")
        out.append("```text\n" + row["refused"].split("\n")[0] + "\n```\n")
    return "\n".join(out)


def findings(results):
    network = results.networks[0]
    blocks = results.data["blocks_per_gpu"]
    gpus_per_node = results.data["gpus_per_node"]

    def ends(name):
        rows = [row for row in results.of(name, network) if "refused" not in row]
        several = [row for row in rows if row["nodes"] > 1]
        return rows[0], (several or rows)[0], rows[-1]

    _, add_two, add_all = ends("add_transpose_mean")
    one, product_two, product_all = ends("matmul")
    tall_one, tall_two, tall_all = ends("svd_tall")
    svd_one, _, _ = ends("svd_dot")
    product_512 = next((r for r in results.of("matmul", network) if r["gpus"] == 512), product_all)
    us = [1e6 * r["rank_planning_seconds"] / r["most_tasks_of_a_rank"] for r in (product_two, product_all)]
    return f"""## What limits it

- A transpose sends nearly every block to another node once: {gib(add_all['network_bytes'] / add_all['gpus'])} GiB for each GPU at
  {add_all['gpus']:,}. A GPU's memory is {results.model['memory_bytes_per_s'] * gpus_per_node / network:.0f} times as fast as its part of a node's
  adapter, so that the first step beyond one node costs nearly all efficiency, and later ones little.
- A product: a rank's result blocks make up about a square, so that it fetches as many rows and columns of blocks as that
  has, which grows as the work of a rank does. All of its result blocks are under way at once, and the links of their
  chains come together: a panel of each matrix is fetched once, and all ranks that have a part of it send. The busiest node's
  bytes alone take its adapter {product_all['most_fetched_bytes'] / network:.3g} s at {product_all['gpus']:,} GPUs, the operations {product_all['busy_seconds'] / product_all['gpus']:.3g} s. Panels that come
  early wait in the memory: {gib(product_two['peak_device_bytes'])} GiB of a GPU at {product_two['gpus']} GPUs, {gib(product_512['peak_device_bytes'])} GiB at {product_512['gpus']}; at {product_all['gpus']:,}
  {gib(product_all['spilled_bytes'] / product_all['gpus'])} GiB of each GPU leave for the host's memory. Where ranks cannot have equal squares (16, 64, 256, 1024 and
  4096 GPUs) the busiest node moves up to twice as much as others.
- What all nodes need, its owner sends to each of them: in a tall decomposition {gib(tall_all['most_sent_bytes'])} GiB leave one node
  at {tall_all['gpus']:,} GPUs, {gib(tall_two['most_sent_bytes'])} GiB at {tall_two['gpus']}, and efficiency is {results.efficiency(tall_all):.2f}. A tree of
  nodes would take a logarithm of steps; there is none yet.
- `svd` of a matrix that is cut along both axes gathers it into one block: one GPU does all of it, {svd_one['seconds']:.3g} s at
  {svd_one['gpus']} GPUs, {100 * svd_one['busy_seconds'] / svd_one['gpus'] / svd_one['seconds']:.0f} % of whose time is work, and what does not fit one GPU is
  refused: there is no weak scaling of it.

## Planning

A rank looks at its own tasks, and at other ranks' only to know who reads a block of its own. From {add_two['nodes']} ranks to
{add_all['nodes']}, plan and share together take a rank:

- `x + x.T - x.mean(axis=0)`: {planning_ms(add_two):.2f} and {planning_ms(add_all):.2f} ms, for {add_two['most_tasks_of_a_rank']} and
  {add_all['most_tasks_of_a_rank']} tasks. With more ranks more of the blocks that they read are others', until all transposed
  ones are, and lie further apart in the scheduler's tables.
- `a.dot(b)`: {planning_ms(product_two):.2f} and {planning_ms(product_all):.2f} ms, for {product_two['most_tasks_of_a_rank']:,} and {product_all['most_tasks_of_a_rank']:,}
  tasks: a rank's tasks grow as its work does, with the square root of the number of ranks. A task takes {us[0]:.2f} and {us[1]:.2f} us,
  the latter with evictions.
- `svd` of a tall matrix: {planning_ms(tall_two):.2f} and {planning_ms(tall_all):.2f} ms, for {tall_two['most_tasks_of_a_rank']} and {tall_all['most_tasks_of_a_rank']} tasks. The plan
  has tables with an entry for each block along an axis, and here one axis has all {blocks * tall_all['gpus']:,.0f}: the plan grows from
  {1e3 * tall_two['plan_seconds']:.2f} to {1e3 * tall_all['plan_seconds']:.2f} ms. This does grow with the number of ranks; of arrays cut along two axes,
  with its square root.

Not in these figures: a session notes whose each block of a kept array is, 4 bytes for each, and tells all other ranks when it
begins and ends a computation.

Measured on {results.data['processor']}, one of {results.data['cores']} cores, in a {results.data['build'].lower()} build.
"""


def page(data):
    results = Results(data)
    parts = [HEAD, filled(assumptions(results)), filled(legend())]
    parts += [expression(results, entry) for entry in data["expressions"]]
    parts.append(filled(findings(results)))
    return "\n".join(parts)


def main(arguments):
    check = arguments[0] == "--check" if arguments else False
    if len(arguments) != (3 if check else 1):
        sys.exit(__doc__)
    with open(arguments[-1], encoding="utf-8") as file:
        text = page(json.load(file))
    if not check:
        sys.stdout.write(text)
        return
    with open(arguments[1], encoding="utf-8") as file:
        if file.read() != text:
            sys.exit(f"[scaling_table] {arguments[1]} is made of {arguments[2]}; got another text; try "
                     f"scaling_table.py {arguments[2]} > {arguments[1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
