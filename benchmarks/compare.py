#!/usr/bin/env python3
"""Says what moved between two runs of the suite, beyond the noise of both.

usage: compare.py [--strict] A.json B.json

A row moved when its medians lie further apart than three standard deviations of both, as medians of
distances tell them, and further than 5%. With --strict a row that got slower, fails or is gone makes the exit status 1.
"""
from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import load, markdown_table, time_text  # noqa: E402

LEAST = 0.05
DEVIATIONS = 3.0
# Standard deviations of a normal distribution in one median distance from the median.
SCALE = 1.4826


def noise(seconds: list[float]) -> float:
    """Deviation of repetitions as a part of their median; of one repetition it is not known, and taken as 10%."""
    if len(seconds) < 2:
        return 0.1
    middle = statistics.median(seconds)
    return SCALE * statistics.median(abs(s - middle) for s in seconds) / middle


def verdict(before: dict | None, after: dict | None) -> tuple[str, float | None, float]:
    """What became of one library in one row: a word, the ratio of the times, and what counts as noise."""
    old, new = (before or {}).get("seconds"), (after or {}).get("seconds")
    if not old or not new:
        return ("same" if not old and not new else "fails now" if old else "runs now"), None, 0.0
    allowed = max(LEAST, DEVIATIONS * (noise(old) ** 2 + noise(new) ** 2) ** 0.5)
    ratio = statistics.median(new) / statistics.median(old)
    if ratio > 1 + allowed:
        return "slower", ratio, allowed
    if ratio < 1 / (1 + allowed):
        return "faster", ratio, allowed
    return "same", ratio, allowed


def compare(a: dict, b: dict) -> list[dict]:
    """One entry for each row and library of either run."""
    rows_a = {row["name"]: row for row in a["rows"]}
    rows_b = {row["name"]: row for row in b["rows"]}
    found = []
    for name in dict.fromkeys([*rows_a, *rows_b]):
        old = rows_a.get(name, {}).get("participants", {})
        new = rows_b.get(name, {}).get("participants", {})
        for who in dict.fromkeys([*old, *new]):
            word, ratio, allowed = verdict(old.get(who), new.get(who))
            if name not in rows_a or name not in rows_b:
                word = "gone" if name not in rows_b else "new"
            found.append({"name": name, "who": who, "verdict": word, "ratio": ratio, "allowed": allowed,
                          "before": (old.get(who) or {}).get("seconds"), "after": (new.get(who) or {}).get("seconds")})
    return found


def differences(a: dict, b: dict) -> list[str]:
    """What makes the two runs hard to compare."""
    lines = []
    for key in ("processor", "cores", "simd", "blas", "compiler", "build"):
        if a["machine"].get(key) != b["machine"].get(key):
            lines.append(f"{key}: {a['machine'].get(key)} and {b['machine'].get(key)}")
    for key in ("edge", "memory_bytes", "quick"):
        if a["options"].get(key) != b["options"].get(key):
            lines.append(f"{key}: {a['options'].get(key)} and {b['options'].get(key)}")
    return lines


def to_text(a: dict, b: dict, entries: list[dict]) -> str:
    moved = [entry for entry in entries if entry["verdict"] != "same"]
    lines = [f"Not the same in both runs: {line}" for line in differences(a, b)]
    table = [[f"`{e['name']}`", e["who"], e["verdict"],
              time_text(statistics.median(e["before"])) if e["before"] else "-",
              time_text(statistics.median(e["after"])) if e["after"] else "-",
              f"{e['ratio']:.2f}" if e["ratio"] else "-", f"{100 * e['allowed']:.0f}%"] for e in moved]
    if table:
        lines += markdown_table(["workload", "library", "", "before", "after", "ratio", "noise"], table)
    lines.append(f"{len(moved)} of {len(entries)} moved beyond noise")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    strict = "--strict" in arguments
    paths = [Path(argument) for argument in arguments if argument != "--strict"]
    if len(paths) != 2 or any(str(path).startswith("--") for path in paths):
        print("usage: compare.py [--strict] A.json B.json", file=sys.stderr)
        return 2
    try:
        a, b = load(paths[0]), load(paths[1])
    except (OSError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    entries = compare(a, b)
    print(to_text(a, b, entries))
    worse = [e for e in entries if e["who"] == "tessera" and e["verdict"] in ("slower", "fails now", "gone")]
    return 1 if strict and worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
