"""Kills ranks: how often the others come to the right result, and how much longer it takes them.

Each of five workloads runs on 4 ranks with TESSERA_ON_RANK_LOSS=recover, 7 times undisturbed and then
as often as asked with one rank killed at a random moment: python3 benchmarks/recovery.py --bin DIR --kills 25
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import time

WORKLOADS = ("product", "svd", "rechunk", "kept", "delayed")
RANKS = 4
LIMIT_S = 60


def run(folder, workload, transport, kill_after=None):
    """Seconds, hash lines and exit status; rank and moment of the victim."""
    env = dict(os.environ, TESSERA_ON_RANK_LOSS="recover", TESSERA_TRANSPORT=transport)
    command = [f"{folder}/tessera", "run", "-n", str(RANKS), "--devices", "host:1", "--",
               f"{folder}/ranks_program", "survive", workload]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pids = {}
    while len(pids) < RANKS:
        line = process.stderr.readline()
        if not line:
            raise RuntimeError("the ranks did not start")
        found = re.match(r"rank (\d+) is process (\d+)", line)
        if found:
            pids[int(found[1])] = int(found[2])
    begin = time.monotonic()
    victim = None
    if kill_after is not None:
        time.sleep(kill_after)
        victim = random.randrange(RANKS)
        try:
            os.kill(pids[victim], signal.SIGKILL)
        except ProcessLookupError:
            victim = None  # it was over
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        for pid in pids.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return {"hang": True, "victim": victim, "err": process.communicate()[1]}
    return {"hang": False, "victim": victim, "seconds": time.monotonic() - begin, "status": process.returncode,
            "lines": out.split("\n")[:-1], "err": err}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--kills", type=int, default=25, help="for each workload")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transport", default="auto")
    parser.add_argument("--output")
    options = parser.parse_args()
    random.seed(options.seed)
    rows = []
    for workload in WORKLOADS:
        clean = [run(options.bin, workload, options.transport) for _ in range(7)]
        wanted = sorted(set(clean[0]["lines"]))
        for one in clean:
            assert one["status"] == 0 and sorted(one["lines"]) == sorted(wanted * RANKS), one
        median = statistics.median(one["seconds"] for one in clean)
        times, wrong, hangs = [], 0, 0
        for _ in range(options.kills):
            after = random.uniform(0, 0.95 * median)
            one = run(options.bin, workload, options.transport, after)
            if one["hang"]:
                hangs += 1
                print(f"{workload}: HANG, victim {one['victim']} after {after:.3f} s\n{one['err']}", flush=True)
                continue
            count = RANKS - (one["victim"] is not None)
            right = one["status"] == 0 and set(one["lines"]) == set(wanted) and \
                len(one["lines"]) >= count * len(wanted)
            if not right:
                wrong += 1
                print(f"{workload}: WRONG, victim {one['victim']} after {after:.3f} s, status {one['status']}, "
                      f"{one['lines']}\n{one['err']}", flush=True)
            times.append(one["seconds"])
        row = {"workload": workload, "kills": options.kills, "wrong": wrong, "hangs": hangs,
               "clean_median_s": median, "killed_median_s": statistics.median(times),
               "ratio": statistics.median(times) / median, "killed_max_s": max(times)}
        print(json.dumps(row), flush=True)
        rows.append(row)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump({"ranks": RANKS, "transport": options.transport, "cores": os.cpu_count(), "rows": rows}, file,
                      indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
