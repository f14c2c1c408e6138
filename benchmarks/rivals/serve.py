"""Runs one workload with another library, whenever it is told to, as bench_suite --serve does with Tessera.

usage: serve.py LIBRARY NAME --sizes JSON [--folder DIR]
       serve.py LIBRARY versions

LIBRARY is the end of one of the files with_<library>.py beside this one. Words on standard input: `run`,
then `end` with Tessera's results, which say what to show of each. Answers are JSON, one object a line.
"""
from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path


def respond(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


def forget_peak() -> None:
    """Lets the kernel count the peak of resident memory anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass  # then the peak includes the making of the inputs


def peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def outcome(library, results: tuple, wanted: list[dict | None], peak: int) -> dict:
    from inputs import sample
    found = []
    for result, want in zip(results, wanted):
        found.append(sample(library.to_numpy(result), want["moments"]) if want else None)
    return {"end": True, "peak_bytes": peak, "results": found}


def serve(library, name: str, options: argparse.Namespace) -> None:
    sizes = argparse.Namespace(**json.loads(options.sizes), folder=options.folder)
    work = library.WORKLOADS[name](sizes)
    forget_peak()
    respond({"ready": True, "resident_bytes": peak_bytes()})
    results: tuple = ()
    wanted: list = []
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "end":
            wanted = json.loads(rest or "[]")
            break
        results = ()
        begin = time.perf_counter()
        results = library.finish(work())
        respond({"seconds": time.perf_counter() - begin})
    peak = peak_bytes()
    respond(outcome(library, results, wanted, peak))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("library")
    parser.add_argument("name")
    parser.add_argument("--sizes", default="{}")
    parser.add_argument("--folder", default=".")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    try:
        library = importlib.import_module("with_" + options.library)
        if options.name == "versions":
            respond({"versions": library.versions(), "workloads": sorted(library.WORKLOADS)})
        elif options.name not in library.WORKLOADS:
            respond({"skipped": "not written for this library"})
        else:
            serve(library, options.name, options)
    except Exception as error:  # whatever a library throws is its result
        respond({"error": f"{type(error).__name__}: {error}"[:400]})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
