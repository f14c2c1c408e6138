#!/usr/bin/env python3
"""Writes what a run of the suite measured as a table and as a page with pictures.

usage: report.py SUITE.json [FOLDER]            writes suite.md and suite.html beside the JSON, or into FOLDER
       report.py --quote SUITE.json DOCUMENT.md  replaces the part of DOCUMENT between its two `suite` marks

The marks are lines: <!-- suite: begin --> and <!-- suite: end -->.
"""
from __future__ import annotations

import html
import json
import math
import statistics
import sys
from pathlib import Path

sys.dont_write_bytecode = True

RIVALS = ("numpy", "numexpr", "dask", "jax", "torch", "cupy")
COLOURS = {"tessera": "#1f5fbf", "floor": "#8a8a8a", "numpy": "#e0a030", "numexpr": "#b8860b", "dask": "#c8452d",
           "jax": "#3a9a5c", "torch": "#8e4fb3", "cupy": "#2aa5a5"}
BEGIN, END = "<!-- suite: begin -->", "<!-- suite: end -->"
# Losing by less than this is not told apart from noise.
MARGIN = 1.05


def explanations() -> dict[str, str]:
    """Why a row is slower than another library, or fails; shown only where it is so."""
    path = Path(__file__).resolve().parent / "explanations.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def median_of(record: dict | None) -> float | None:
    seconds = (record or {}).get("seconds")
    return statistics.median(seconds) if seconds else None


def spread_of(record: dict) -> float:
    """Largest minus smallest, as a part of the median."""
    seconds = record["seconds"]
    return (max(seconds) - min(seconds)) / statistics.median(seconds)


def best_rival(row: dict) -> tuple[str, float] | None:
    """The fastest library beside ours whose results are equal to ours, and its median."""
    found = [(median_of(record), name) for name, record in row["participants"].items()
             if name in RIVALS and median_of(record) is not None and record.get("equal")]
    return (min(found)[1], min(found)[0]) if found else None


def memory_rate(result: dict) -> float | None:
    """Bytes per second that no loop of ours exceeded: the best of copy, triad and read."""
    rates = [result["ceilings"][name]["rate"] for name in ("copy", "triad", "read") if name in result["ceilings"]]
    return max(rates) if rates else None


def ceiling_s(result: dict, row: dict) -> float | None:
    """Seconds that the machine's bandwidth, or its products' rate, allows for the row's work."""
    ceilings = result["ceilings"]
    if row.get("bound") == "memory" and memory_rate(result):
        return row["bytes"] / memory_rate(result)
    if row.get("bound") == "products" and "dgemm" in ceilings:
        return row["operations"] / ceilings["dgemm"]["rate"]
    if row.get("bound") == "disk" and "disk_write" in ceilings:
        ours = row["participants"].get("tessera", {})
        moved = ours.get("disk_bytes")
        return moved / 2 * (1 / ceilings["disk_write"]["rate"] + 1 / ceilings["disk_read"]["rate"]) if moved else None
    return None


def facts_of(result: dict, row: dict) -> dict:
    """Medians and ratios of one row; a ratio is ours divided by theirs."""
    ours = median_of(row["participants"].get("tessera"))
    floor = median_of(row["participants"].get("floor"))
    ceiling = ceiling_s(result, row) if "bound" in row else None
    best = best_rival(row)
    facts = {"ours": ours, "floor": floor, "ceiling": ceiling, "best": best, "verdict": ""}
    if ours is not None:
        facts["to_floor"] = ours / floor if floor else None
        facts["to_ceiling"] = ours / ceiling if ceiling else None
        facts["to_best"] = ours / best[1] if best else None
        wrong = [name for name, record in row["participants"].items() if record.get("equal") is False]
        if wrong:
            facts["verdict"] = "results differ from those of " + ", ".join(wrong)
        elif best and ours > MARGIN * best[1]:
            facts["verdict"] = f"slower than {best[0]}"
    elif "unsupported" in row:
        facts["verdict"] = "not supported: " + row["unsupported"]
    else:
        facts["verdict"] = "failed"
    return facts


def time_text(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} us"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def ratio_text(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def bytes_text(size: float | None) -> str:
    if size is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"
        size /= 1024
    return "-"


def rate_text(ceiling: dict) -> str:
    return f"{ceiling['rate'] / 1e9:.3g} G{ceiling['unit']}"


def rival_text(record: dict | None) -> str:
    if not record:
        return "-"
    if "skipped" in record:
        return "-"
    if "error" in record:
        return "not run" if "not run" in record["error"] else "failed"
    text = time_text(median_of(record))
    return text if record.get("equal", True) else text + " (differs)"


def libraries_of(result: dict) -> list[str]:
    return [name for name in RIVALS
            if any(name in row["participants"] for row in result["rows"])]


def heading(result: dict) -> list[str]:
    machine, options = result["machine"], result["options"]
    loads = [row["load_average"] for row in result["rows"] if "load_average" in row]
    versions = "; ".join(f"{name} {version}" for library in result["libraries"].values()
                         for name, version in library.items() if name != "error")
    lines = [
        f"{machine['processor']}, {result['threads']} cores, {bytes_text(machine.get('memory_bytes'))} of memory, "
        f"{machine['blas']}, {machine['compiler']}, Tessera {machine['version']} ({result['commit']}), {result['date'][:10]}.",
        f"`{' '.join(result['command'])}`; larger workloads are scaled to {bytes_text(options['memory_bytes'])} of memory.",
    ]
    if versions:
        lines.append(f"Beside it: {versions}.")
    if loads:
        lines.append(f"Load averages before the rows, this run's own threads included: {min(loads):.1f} to {max(loads):.1f}.")
    return lines


def markdown_table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head),
            *("| " + " | ".join(row) + " |" for row in rows)]


def ceiling_table(result: dict) -> list[str]:
    return markdown_table(["ceiling", "median", "lowest", "highest"],
                          [[name, rate_text(c), f"{min(c['all']) / 1e9:.3g}", f"{max(c['all']) / 1e9:.3g}"]
                           for name, c in result["ceilings"].items() if isinstance(c, dict)])


def row_cells(result: dict, row: dict, libraries: list[str]) -> list[str]:
    facts = facts_of(result, row)
    ours = row["participants"].get("tessera", {})
    peak = bytes_text(ours.get("peak_bytes"))
    return [f"`{row['name']}`", time_text(facts["ours"]),
            f"{100 * spread_of(ours):.0f}%" if ours.get("seconds") else "-",
            ratio_text(facts.get("to_floor")), ratio_text(facts.get("to_ceiling")),
            *(rival_text(row["participants"].get(name)) for name in libraries),
            ratio_text(facts.get("to_best")), peak, str(ours.get("tasks", "-")), facts["verdict"]]


def workload_tables(result: dict) -> list[str]:
    libraries = libraries_of(result)
    head = ["workload", "Tessera", "spread", "/ floor", "/ ceiling", *libraries, "/ best", "peak", "tasks", ""]
    lines: list[str] = []
    for family in dict.fromkeys(row["family"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["family"] == family]
        lines += [f"### {family}", "", *markdown_table(head, [row_cells(result, row, libraries) for row in rows]), ""]
        lines += [f"- `{row['name']}`: {row['expression']}" for row in rows] + [""]
    return lines


def explained(result: dict) -> list[str]:
    """One line for each row that loses or fails, with why where that is known."""
    known, lines = explanations(), []
    for row in result["rows"]:
        facts = facts_of(result, row)
        error = row["participants"].get("tessera", {}).get("error")
        if facts["verdict"] == "" or "unsupported" in row:
            continue
        ratio = f" ({ratio_text(facts['to_best'])} times {facts['best'][0]}'s time)" if facts.get("to_best") else ""
        why = known.get(row["name"], "not explained yet")
        what = f"fails: {error.splitlines()[0]}" if error else facts["verdict"] + ratio
        lines.append(f"- `{row['name']}` {what}. {why[0].upper()}{why[1:]}.")
    return lines or ["- none"]


def scheduling_lines(result: dict) -> list[str]:
    rows = []
    for row in result.get("scheduling", []):
        answer = row.get("result", {})
        if "error" in answer:
            rows.append([f"`{row['name']}`", "-", "-", "-", answer["error"]])
        elif "participants" in row:
            for name, record in row["participants"].items():
                rows.append([f"`{row['name']}` {name}", "-", time_text(median_of(record)),
                             bytes_text(record["peak_bytes"]), row["what"]])
        elif row["name"] == "tasks_dask":
            for shape in ("grid", "chain", "tree"):
                part = answer[shape]
                rows.append([f"`tasks_{shape}` dask", str(part["tasks"]), f"{part['us_per_task']:.3g} us a task", "-",
                             "threads; building the graph included"])
        else:
            each = answer.get("us_per_task", answer.get("us_per_call"))
            state = answer.get("state_bytes") or (answer.get("peak_rss_mib", 0) * (1 << 20)) or None
            rows.append([f"`{row['name']}`", str(answer.get("tasks", answer.get("calls", "-"))),
                         f"{each:.3g} us a task", bytes_text(state), " ".join(row["command"])])
    return markdown_table(["what", "tasks", "time", "memory", ""], rows) if rows else ["not measured"]


def summary(result: dict) -> list[str]:
    """How many rows keep what is aimed at."""
    all_facts = [(row, facts_of(result, row)) for row in result["rows"]]
    compared = [f for _, f in all_facts if f.get("to_best")]
    floors = [f for row, f in all_facts if f.get("to_floor") and row.get("bound") == "memory"]
    products = [f for row, f in all_facts if f.get("to_ceiling") and row.get("bound") == "products"]
    lines = []
    if compared:
        kept = sum(f["to_best"] <= MARGIN for f in compared)
        lines.append(f"- not slower than the best other library (within 5%): {kept} of {len(compared)} rows")
    if floors:
        kept = sum(f["to_floor"] <= 1.5 for f in floors)
        lines.append(f"- memory-bound rows within 1.5 of their loops: {kept} of {len(floors)}")
    if products:
        kept = sum(1 / f["to_ceiling"] >= 0.92 for f in products)
        lines.append(f"- products at 0.92 of the dgemm peak and up: {kept} of {len(products)}")
    return lines


def to_markdown(result: dict) -> str:
    lines = ["# Benchmarks", "", *(line + "\n" for line in heading(result)), *summary(result), "",
             "Times are medians. `/ floor`, `/ ceiling` and `/ best` are Tessera's time divided by that of a "
             "hand-written loop, by what the ceilings below allow, and by that of the fastest other library whose "
             "results are equal; below 1 Tessera is faster. `peak` is resident memory.", "",
             "## Ceilings", "", *ceiling_table(result), "", "## Workloads", "", *workload_tables(result),
             "## Slower rows and failures", "", *explained(result), "", "## Scheduling", "", *scheduling_lines(result)]
    return "\n".join(lines) + "\n"


# Pictures: SVG made by hand, so that the page needs nothing else.

def svg_text(x: float, y: float, words: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{html.escape(words)}</text>'


def bar_chart(result: dict, rows: list[dict]) -> str:
    """Times relative to Tessera's, on a logarithmic axis: bars to the right are slower than Tessera."""
    bars, y = [], 24.0
    left, width, thick = 190.0, 620.0, 11.0
    low, high = -1.5, 2.0  # powers of ten

    def at(ratio: float) -> float:
        return left + (min(high, max(low, math.log10(ratio))) - low) / (high - low) * width
    for row in rows:
        ours = median_of(row["participants"].get("tessera"))
        names = [n for n in ("floor", *RIVALS) if median_of(row["participants"].get(n)) is not None]
        bars.append(svg_text(left - 8, y + thick, row["name"], "end"))
        if ours is None or not names:
            words = time_text(ours) if ours else facts_of(result, row)["verdict"]
            bars.append(svg_text(at(1) + 6, y + thick, words, size=11))
            y += thick + 14
            continue
        for name in names:
            ratio = median_of(row["participants"][name]) / ours
            x0, x1 = sorted((at(1.0), at(ratio)))
            title = f"{name}: {time_text(median_of(row['participants'][name]))}, {ratio:.2f} times Tessera's {time_text(ours)}"
            bars.append(f'<rect x="{x0:.1f}" y="{y:.1f}" width="{max(1.0, x1 - x0):.1f}" height="{thick - 2}" '
                        f'fill="{COLOURS[name]}"><title>{html.escape(title)}</title></rect>')
            bars.append(svg_text(at(ratio) + (4 if ratio >= 1 else -4), y + thick - 2,
                                 f"{name} {ratio:.2f}", "start" if ratio >= 1 else "end", 9))
            y += thick
        y += 10
    grid = []
    for ratio in (0.1, 0.3, 1, 3, 10, 30, 100):
        strong = "#1f5fbf" if ratio == 1 else "#ddd"
        grid.append(f'<line x1="{at(ratio):.1f}" y1="18" x2="{at(ratio):.1f}" y2="{y:.0f}" stroke="{strong}"/>')
        grid.append(svg_text(at(ratio), 12, f"{ratio:g}", "middle", 10))
    return (f'<svg viewBox="0 0 900 {y + 6:.0f}" width="900" role="img" aria-label="times relative to Tessera">'
            + "".join(grid + bars) + "</svg>")


def roofline(result: dict) -> str:
    """Rates of arithmetic over operations for each byte, below what memory and products allow."""
    bandwidth = memory_rate(result)
    peak = result["ceilings"].get("dgemm", {}).get("rate")
    if not bandwidth or not peak:
        return "<p>no ceilings, no roofline</p>"
    points = []
    for row in result["rows"]:
        ours = median_of(row["participants"].get("tessera"))
        if ours and row.get("bytes") and row.get("operations") and row.get("bound") != "latency":
            points.append((row["operations"] / row["bytes"], row["operations"] / ours, row["name"]))
    left, top, width, height = 70.0, 20.0, 760.0, 420.0
    x_low = min([-2.0, *(math.log10(p[0]) for p in points)])
    x_high = max([3.0, *(math.log10(p[0]) for p in points)]) + 0.2
    y_low = min([8.0, *(math.log10(p[1]) for p in points)]) - 0.2
    y_high = math.log10(peak) + 0.4

    def place(intensity: float, rate: float) -> tuple[float, float]:
        return (left + (math.log10(intensity) - x_low) / (x_high - x_low) * width,
                top + (y_high - math.log10(rate)) / (y_high - y_low) * height)
    ridge = peak / bandwidth
    corners = [place(max(10**x_low, 10**y_low / bandwidth), bandwidth * max(10**x_low, 10**y_low / bandwidth)),
               place(ridge, peak), place(10**x_high, peak)]
    out = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#bbb"/>']
    for power in range(math.ceil(x_low), math.floor(x_high) + 1):
        x = place(10.0**power, 10.0**y_low)[0]
        out += [f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + height}" stroke="#eee"/>',
                svg_text(x, top + height + 16, f"{10.0**power:g}", "middle", 10)]
    for power in range(math.ceil(y_low), math.floor(y_high) + 1):
        y = place(10.0**x_low, 10.0**power)[1]
        out += [f'<line x1="{left}" y1="{y:.1f}" x2="{left + width}" y2="{y:.1f}" stroke="#eee"/>',
                svg_text(left - 6, y + 4, f"{10.0**(power - 9):g}", "end", 10)]
    out.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in corners)}" fill="none" stroke="#444" '
               'stroke-width="2"/>')
    for intensity, rate, name in points:
        x, y = place(intensity, rate)
        title = f"{name}: {rate / 1e9:.3g} Gop/s at {intensity:.3g} operations a byte"
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS["tessera"]}"><title>'
                   f"{html.escape(title)}</title></circle>")
        out.append(svg_text(x + 6, y + 3, name, size=9))
    out.append(svg_text(left + width / 2, top + height + 34, "operations for each byte", "middle"))
    out.append(svg_text(left, 14, f"Gop/s; roof: {bandwidth / 1e9:.3g} GB/s and {peak / 1e9:.3g} GFLOP/s"))
    return f'<svg viewBox="0 0 900 480" width="900" role="img" aria-label="roofline">{"".join(out)}</svg>'


STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:13px}td,th{border:1px solid #ddd;padding:2px 7px;text-align:right}
td:first-child,th:first-child,td:last-child{text-align:left}.loses{background:#fbe3de}.wrap{overflow-x:auto}
svg{max-width:100%;height:auto;font-family:system-ui,sans-serif}"""


def html_table(head: list[str], rows: list[tuple[list[str], bool]]) -> str:
    def cells(tag: str, row: list[str]) -> str:
        return "".join(f"<{tag}>{html.escape(cell.strip('`'))}</{tag}>" for cell in row)
    body = "".join(f'<tr{" class=loses" if loses else ""}>{cells("td", row)}</tr>' for row, loses in rows)
    return f'<div class="wrap"><table><tr>{cells("th", head)}</tr>{body}</table></div>'


def to_html(result: dict) -> str:
    """A page that needs no other file and no network."""
    libraries = libraries_of(result)
    head = ["workload", "Tessera", "spread", "/ floor", "/ ceiling", *libraries, "/ best", "peak", "tasks", ""]
    parts = ["<h1>Tessera: benchmarks</h1>", *(f"<p>{html.escape(line)}</p>" for line in heading(result)),
             "<ul>", *(f"<li>{html.escape(line[2:])}</li>" for line in summary(result)), "</ul>",
             "<h2>Roofline</h2>", roofline(result), "<h2>Ceilings</h2>",
             html_table(["ceiling", "rate"], [([name, rate_text(c)], False) for name, c in result["ceilings"].items()
                                              if isinstance(c, dict)])]
    for family in dict.fromkeys(row["family"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["family"] == family]
        parts += [f"<h2>{html.escape(family)}</h2>",
                  "<p>Times relative to Tessera's; to the right of 1 is slower than Tessera.</p>",
                  bar_chart(result, rows),
                  html_table(head, [(row_cells(result, row, libraries), facts_of(result, row)["verdict"] != "")
                                    for row in rows])]
    parts += ["<h2>Slower rows and failures</h2><ul>",
              *(f"<li>{html.escape(line[2:].replace('`', ''))}</li>" for line in explained(result)), "</ul>"]
    return ('<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tessera: benchmarks</title>'
            f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n")


def quote(result: dict, text: str, source: str) -> str:
    """The document with what stands between its marks replaced by the run's summary."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the document needs one line {BEGIN} and one line {END} after it")
    head = text[:text.index(BEGIN) + len(BEGIN)]
    tail = text[text.index(END):]
    libraries = libraries_of(result)
    rows = []
    for row in result["rows"]:
        facts = facts_of(result, row)
        best = f"{facts['best'][0]} {time_text(facts['best'][1])}" if facts["best"] else "-"
        rows.append([f"`{row['name']}`", time_text(facts["ours"]), ratio_text(facts.get("to_floor")),
                     ratio_text(facts.get("to_ceiling")), best, ratio_text(facts.get("to_best")), facts["verdict"]])
    table = markdown_table(["workload", "Tessera", "/ floor", "/ ceiling", "best of " + ", ".join(libraries), "/ best", ""],
                           rows)
    body = [f"Written by `benchmarks/report.py --quote` from `{source}`.", "", *(line + "\n" for line in heading(result)),
            *summary(result), "", *table, "", "Slower rows and failures:", "", *explained(result)]
    return head + "\n" + "\n".join(body) + "\n" + tail


def write(result: dict, folder: Path, stem: str = "suite") -> None:
    (folder / f"{stem}.md").write_text(to_markdown(result), encoding="utf-8")
    (folder / f"{stem}.html").write_text(to_html(result), encoding="utf-8")


def load(path: Path) -> dict:
    """The results in a file. Raises ValueError for anything else."""
    result = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(result, dict) or result.get("schema") != 1 or "rows" not in result:
        raise ValueError(f"{path} holds no results of schema 1")
    return result


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) == 3 and arguments[0] == "--quote":
            document = Path(arguments[2])
            text = document.read_text(encoding="utf-8")
            document.write_text(quote(load(Path(arguments[1])), text, Path(arguments[1]).name), encoding="utf-8")
            return 0
        if len(arguments) in (1, 2) and not arguments[0].startswith("-"):
            path = Path(arguments[0])
            write(load(path), Path(arguments[1]) if len(arguments) == 2 else path.parent, path.stem)
            return 0
    except (OSError, ValueError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(__doc__.split("\n\n")[1], file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
