#!/usr/bin/env python3
"""Measures Tessera and other libraries in turns on this machine; benchmarks/README.md says how to read the results.

usage: run.sh [--quick|--full] [--sizes fit-memory|SIZE] [--rivals numpy,numexpr,dask,jax,torch,cupy|none]
              [--only NAME] [--output FOLDER] [--bin FOLDER] [--python PROGRAM]
"""
from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import report  # noqa: E402
from participants import (Effort, Participant, available_memory, compare_results, guarded,  # noqa: E402
                          record_of, take_turns)

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"
SCHEMA = 1
RIVALS = ("numpy", "numexpr", "dask", "jax", "torch", "cupy")
UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def say(words: str) -> None:
    print(f"benchmarks: {words}", file=sys.stderr, flush=True)


def stop(words: str) -> None:
    say(words)
    sys.exit(2)


def parse_size(text: str) -> int:
    """Bytes of "fit-memory" or a size such as 4GiB."""
    if text == "fit-memory":
        return available_memory()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text)
    if not match or match[2] not in UNITS:
        raise argparse.ArgumentTypeError(f'a size is "fit-memory" or a number with a unit, such as 4GiB; got "{text}"')
    size = int(float(match[1]) * UNITS[match[2]])
    if size < 64 << 20:
        raise argparse.ArgumentTypeError(f'a size is at least 64MiB; got "{text}"')
    return size


def parse_rivals(text: str) -> list[str]:
    if text == "none":
        return []
    names = text.split(",")
    unknown = [name for name in names if name not in RIVALS]
    if unknown:
        raise argparse.ArgumentTypeError(f"rivals are {', '.join(RIVALS)} or none; got {unknown[0]}")
    return names


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__.split("\n", maxsplit=1)[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="small sizes, few repetitions: shows that everything runs")
    mode.add_argument("--full", action="store_true", help="the sizes that figures are quoted from (default)")
    parser.add_argument("--sizes", type=parse_size, default=None, metavar="fit-memory|SIZE",
                        help="memory that the larger workloads are scaled to")
    parser.add_argument("--rivals", type=parse_rivals, default=None, metavar="LIST|none",
                        help="libraries to measure beside Tessera; default: those of the virtual environment")
    parser.add_argument("--only", default="", metavar="NAME", help="one workload, or a family of them")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "benchmarks", metavar="FOLDER")
    parser.add_argument("--bin", type=Path, metavar="FOLDER", help="built programs; nothing is built then")
    parser.add_argument("--python", type=Path, default=ROOT / "build" / "rivals" / "bin" / "python",
                        help="interpreter that has the other libraries; benchmarks/rivals.sh makes one")
    parser.add_argument("--repeat", type=int, default=None, metavar="N")
    options = parser.parse_args(arguments)
    if options.repeat is not None and options.repeat < 1:
        parser.error("--repeat is at least 1")
    if options.rivals and not options.python.exists():
        parser.error(f"--rivals needs {options.python}; make it with benchmarks/rivals.sh")
    if options.rivals is None:
        options.rivals = list(RIVALS) if options.python.exists() else []
        if not options.rivals:
            say(f"no other libraries: there is no {options.python}; benchmarks/rivals.sh makes it")
    if options.sizes is None:
        options.sizes = (256 << 20) if options.quick else available_memory()
    return options


def build() -> Path:
    """Builds the release preset's benchmarks; their folder."""
    script = f'. "{ROOT}/scripts/setup.sh"; configure release; build release --target benchmarks'
    done = subprocess.run(["bash", "-euc", script], check=False)
    if done.returncode:
        stop("the build failed")
    return ROOT / "build" / "release" / "bin"


def run_json(command: list[str], environment: dict | None = None, limit_s: float = 600) -> dict:
    """The JSON object that a program prints, or what went wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=environment, check=False)
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {limit_s:g} s"}
    except ValueError:
        words = done.stderr.strip().splitlines()
        return {"error": f"ended with status {done.returncode}" + (": " + words[-1] if words else "")}
    return answer


def environment_of(library: str, threads: int) -> dict[str, str]:
    """Every library gets all cores once: Dask's come from its own threads, so BLAS gets one."""
    variables = {key: value for key, value in os.environ.items()
                 if not re.fullmatch(r"(OMP|OPENBLAS|MKL|NUMEXPR)_NUM_THREADS|NUMEXPR_MAX_THREADS", key)}
    if library not in ("tessera", "floor"):
        blas = 1 if library == "dask" else threads
        variables |= {f"{name}_NUM_THREADS": str(blas) for name in ("OMP", "OPENBLAS", "MKL")}
        variables["NUMEXPR_MAX_THREADS"] = str(threads)
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
    return variables


@dataclass
class Suite:
    """What stays the same through one run."""
    options: argparse.Namespace
    programs: Path
    folder: str
    threads: int
    edge: int
    effort: Effort
    limit_s: float
    libraries: dict[str, list[str]]  # library: its workloads

    def ours(self, role: str, name: str) -> Participant:
        command = [str(self.programs / "bench_suite"), "--serve", name, "--as", role, "--edge", str(self.edge),
                   "--memory", str(self.options.sizes), "--folder", self.folder]
        if self.options.quick:
            command.append("--quick")
        return Participant(role, command, environment_of(role, self.threads), self.limit_s)

    def rival(self, library: str, name: str, sizes: dict) -> Participant:
        command = [str(self.options.python), str(HERE / "rivals" / "serve.py"), library, name,
                   "--sizes", json.dumps(sizes), "--folder", self.folder]
        return Participant(library, command, environment_of(library, self.threads), self.limit_s)


def fits_together(ready: dict, count: int) -> bool:
    """Whether all participants' arrays fit memory at the same time, with room for temporaries."""
    return ready["bytes"] * 3 // 2 * count < available_memory() * 6 // 10


def measure(suite: Suite, workload: dict) -> dict:
    """One row: every participant in a process of its own, in turns where memory allows."""
    row = {key: workload[key] for key in ("name", "family", "expression")}
    name = workload["name"]
    tessera = suite.ours("tessera", name)
    if not guarded(tessera, tessera.start):
        return row | {"participants": {"tessera": tessera.problem}}
    ready = tessera.ready
    row |= {key: ready[key] for key in ("bytes", "operations", "bound", "sizes")}
    others = [suite.ours("floor", name)]
    others += [suite.rival(library, name, ready["sizes"])
               for library, names in suite.libraries.items() if name in names]
    row["interleaved"] = fits_together(ready, 1 + len(others))
    row["load_average"] = os.getloadavg()[0]
    if row["interleaved"]:
        for other in others:
            guarded(other, other.start)
        take_turns([tessera, *others], suite.effort)
        guarded(tessera, tessera.finish)
    else:
        take_turns([tessera], suite.effort)
        guarded(tessera, tessera.finish)
        for other in others:
            guarded(other, other.start)
            take_turns([other], suite.effort)
            finish_other(other, tessera)
    row["participants"] = {"tessera": record_of(tessera)}
    for other in others:
        finish_other(other, tessera)
        record = record_of(other)
        if other.end and tessera.end:
            record |= compare_results(tessera.end["results"], other.end["results"])
        if not (other.name == "floor" and "skipped" in record):
            row["participants"][other.name] = record
    for participant in (tessera, *others):
        participant.stop()
    return row


def finish_other(other: Participant, tessera: Participant) -> None:
    """Asks for results, unless that has happened."""
    if not other.end and not other.problem:
        wanted = None if other.name == "floor" else tessera.end.get("results", [])
        guarded(other, lambda: other.finish(wanted))


def find_libraries(options: argparse.Namespace, threads: int) -> tuple[dict, dict]:
    """Versions of the libraries that can be imported, and the workloads that are written for each."""
    versions, workloads = {}, {}
    for library in options.rivals:
        if not (HERE / "rivals" / f"with_{library}.py").exists():
            continue  # measured on GPUs alone
        answer = run_json([str(options.python), str(HERE / "rivals" / "serve.py"), library, "versions"],
                          environment_of(library, threads), 120)
        if "versions" not in answer:
            say(f"without {library}: {answer.get('error', 'no answer')}")
            versions[library] = answer
            continue
        versions[library] = answer["versions"]
        workloads[library] = answer["workloads"]
    return versions, workloads


def start_up(suite: Suite) -> dict:
    """Seconds from the start of a process to its first small result, and its memory, for each library."""
    row: dict = {"name": "start_up", "what": "a process from its start to the sum of 1,000 numbers", "participants": {}}
    names = ["tessera", *(library for library, known in suite.libraries.items() if "first_result" in known)]
    for _ in range(suite.effort.repetitions):
        for name in names:
            one = (suite.ours("tessera", "first_result") if name == "tessera"
                   else suite.rival(name, "first_result", {"n": 1000}))
            if guarded(one, one.start) and guarded(one, one.run) and guarded(one, one.finish):
                record = row["participants"].setdefault(name, {"seconds": [], "peak_bytes": 0})
                record["seconds"].append(one.start_s + one.seconds[0])
                record["peak_bytes"] = one.end["peak_bytes"]
            one.stop()
    return row


def scheduling(suite: Suite, quick: bool) -> list[dict]:
    """The programs that measure the scheduler alone."""
    tasks = ["--layers", "50", "--width", "100", "--repeat", "2"] if quick else []
    runs = [(f"tasks_{shape}", "bench_tasks", ["--shape", shape, *tasks]) for shape in ("grid", "chain", "tree")]
    runs += [("tasks_one_worker", "bench_tasks", ["--workers", "1", *tasks]),
             ("delayed_calls", "bench_delayed", [])]
    for fuse in ([], ["--fuse"]):
        runs.append(("petabyte_fused" if fuse else "petabyte", "bench_petabyte",
                     ["--blocks", "100" if quick else "250", *fuse]))
    rows = []
    for name, program, arguments in runs:
        say(name)
        answer = run_json([str(suite.programs / program), *arguments])
        rows.append({"name": name, "command": [program, *arguments], "result": answer})
    if (suite.programs / "bench_task_libraries").exists():
        for shape in ("grid", "chain", "tree"):
            say(f"tasks_{shape} of other task libraries")
            command = ["bench_task_libraries", "--shape", shape, *tasks]
            rows.append({"name": f"task_libraries_{shape}", "command": command,
                         "result": run_json([str(suite.programs / command[0]), *command[1:]])})
    if "dask" in suite.libraries:
        say("tasks of Dask")
        command = [str(suite.options.python), str(HERE / "rivals" / "tasks_dask.py"), "1000" if quick else "20000"]
        rows.append({"name": "tasks_dask", "command": ["tasks_dask.py", command[-1]],
                     "result": run_json(command, environment_of("dask", suite.threads))})
    say("start-up")
    rows.append(start_up(suite))
    return rows


def gpu_part(suite: Suite) -> dict | None:
    """bench_gpu_rows and the same rows by other libraries, where there is a GPU and the program was built."""
    program = suite.programs / "bench_gpu_rows"
    if not shutil.which("nvidia-smi") or not program.exists():
        return None
    say("rows of a GPU")
    quick = ["--quick"] if suite.options.quick else []
    parts = {"benchmark": [str(program), *quick]}
    libraries = [name for name in ("cupy", "torch", "jax") if name in suite.options.rivals]
    if libraries:
        parts["rivals"] = [str(suite.options.python), str(HERE / "gpu" / "rivals.py"),
                           "--libraries", ",".join(libraries), *quick]
    found = {}
    for name, command in parts.items():
        out = Path(suite.folder) / f"gpu_{name}.json"
        subprocess.run([*command, "--output", str(out)], check=False, stdout=subprocess.DEVNULL)
        try:
            found[name] = json.loads(out.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            say(f"{command[0]} wrote no results")
    return found


def edge_for(quick: bool) -> int:
    """The host table's matrix: 8192 (512 MiB) where several libraries' copies of it fit at the same time."""
    memory = available_memory()
    if quick:
        return 1024
    return 16384 if memory >= 64 << 30 else 8192 if memory >= 12 << 30 else 4096


def choose(listing: list[dict], only: str) -> list[dict]:
    chosen = [w for w in listing if not only or only in (w["name"], w["family"])]
    if not chosen and only != "scheduling":
        names = ", ".join(w["name"] for w in listing)
        stop(f'--only: no workload or family is called "{only}"; there are {names} and scheduling')
    return chosen


def machine_facts(listing: dict) -> dict:
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"))
    return listing["machine"] | {"kernel": platform.release(), "memory_bytes": int(memory[1]) * 1024,
                                 "python": platform.python_version(), "load_average_before": list(os.getloadavg())}


def commit() -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                          check=False)
    return done.stdout.strip()


def run_suite(options: argparse.Namespace, arguments: list[str], folder: str) -> dict:
    programs = options.bin or build()
    # Before anything is measured for a long time.
    scheduling_programs = ["bench_tasks", "bench_delayed", "bench_petabyte"] if options.only in ("", "scheduling") else []
    for program in ["bench_suite", *scheduling_programs]:
        if not (programs / program).exists():
            stop(f"there is no {program} in {programs}")
    listing = run_json([str(programs / "bench_suite"), "--list"])
    chosen = choose(listing["workloads"], options.only)
    threads = len(os.sched_getaffinity(0))
    versions, libraries = find_libraries(options, threads)
    effort = Effort(options.repeat or (2 if options.quick else 5), 2.0 if options.quick else 3.0)
    suite = Suite(options, programs, folder, threads, edge_for(options.quick), effort,
                  60.0 if options.quick else 240.0, libraries)
    result = {"schema": SCHEMA, "command": ["benchmarks/run.sh", *arguments], "commit": commit(),
              "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
              "machine": machine_facts(listing), "threads": threads, "libraries": versions,
              "options": {"quick": options.quick, "memory_bytes": options.sizes, "edge": suite.edge,
                          "repetitions": effort.repetitions, "budget_s": effort.budget_s}}
    say("ceilings")
    quick = ["--quick"] if options.quick else []
    result["ceilings"] = run_json([str(programs / "bench_suite"), "--ceilings", "--folder", folder, *quick])
    result["rows"] = []
    for workload in chosen:
        say(workload["name"])
        result["rows"].append(measure(suite, workload))
    if options.only in ("", "scheduling"):
        result["scheduling"] = scheduling(suite, options.quick)
    if not options.only:
        gpu = gpu_part(suite)
        if gpu:
            result["gpu"] = gpu
    result["machine"]["load_average_after"] = list(os.getloadavg())
    return result


def main(arguments: list[str]) -> int:
    options = parse_arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work_", dir=options.output) as folder:
        result = run_suite(options, arguments, folder)
    path = options.output / "suite.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    report.write(result, options.output)
    print(report.to_markdown(result))
    say(f"wrote suite.json, suite.md and suite.html to {options.output}")
    wrong = [f"{row['name']} of {name}" for row in result["rows"] for name, record in row["participants"].items()
             if record.get("equal") is False]
    failed = [row["name"] for row in result["rows"] if "error" in row["participants"].get("tessera", {})]
    if wrong:
        say(f"results differ: {', '.join(wrong)}")
    if failed:
        say(f"Tessera failed: {', '.join(failed)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
