"""What blocks between ranks of one machine cost, beside what others make of the same connections.

python3 benchmarks/moves.py --bin build/release/bin [--output FILE] runs, in turns:
  bench_moves on 2 ranks over each transport: words there and back, and bytes a second of bodies;
  ucx_perftest (Debian: ucx-utils) over TCP on loopback, as it comes and in the error mode that Tessera uses, in which a
    lost peer is noticed (-e), polling and asleep between messages (-E sleep), as Tessera is;
  bench_ranks, whose first row cuts 2 GiB anew between 4 ranks, beside what this machine's memory copies; with --dask, dask.distributed doing the same with 4
    worker processes of one thread (benchmarks/rivals.sh installs it; run this script with that folder's Python).
Medians of all turns. What is missing is left out and said so.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

BYTES = 64 << 20
TRANSPORTS = ("auto", "tcp", "ucx")
PERFTESTS = {"as it comes": [], "error handling": ["-e"], "error handling, asleep": ["-e", "-E", "sleep"]}
EDGE, PARTS = 16384, 16


def moves(folder, transport):
    env = dict(os.environ, TESSERA_TRANSPORT=transport, UCX_TLS="tcp", UCX_NET_DEVICES="lo")
    out = subprocess.run([f"{folder}/tessera", "run", "-n", "2", "--", f"{folder}/bench_moves"], env=env, check=True,
                         capture_output=True, text=True)
    return json.loads(out.stdout)


def perftest(test, options, size, count):
    """The last line of numbers: latency in us, MB/s of 2^20 bytes."""
    env = dict(os.environ, UCX_TLS="tcp", UCX_NET_DEVICES="lo")
    command = ["-t", test, "-s", str(size), "-n", str(count), "-w", str(max(count // 10, 2)), "-f", "-v", *options]
    server = subprocess.Popen(["ucx_perftest", *command], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    client = subprocess.run(["ucx_perftest", "127.0.0.1", *command], env=env, check=True, capture_output=True, text=True)
    server.wait(timeout=60)
    values = client.stdout.strip().split("\n")[-1].split(",")
    return {"us": float(values[2]), "gb_per_s": float(values[4]) * 2**20 * 1e-9}


def ranks_rechunk(folder):
    out = subprocess.run([f"{folder}/tessera", "run", "-n", "4", "--", f"{folder}/bench_ranks"], check=True,
                         capture_output=True, text=True)
    return json.loads(out.stdout)["rows"][0]["seconds"]


def dask_rechunk(turns):
    import dask.array as da
    from dask.distributed import Client, LocalCluster, wait

    with LocalCluster(n_workers=4, threads_per_worker=1, processes=True, memory_limit=0,
                      dashboard_address=None) as cluster, Client(cluster) as client:
        times = []
        for _ in range(turns):
            # Another array each time: what is known by its name is not computed again.
            x = client.persist(da.random.random((EDGE, EDGE), chunks=(EDGE // PARTS, EDGE)))
            wait(x)
            begin = time.perf_counter()
            y = client.persist(x.rechunk((EDGE, EDGE // PARTS)))
            wait(y)
            times.append(time.perf_counter() - begin)
            del x, y
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--dask", action="store_true")
    parser.add_argument("--output")
    options = parser.parse_args()
    own = {transport: [] for transport in TRANSPORTS}
    raw = {name: [] for name in PERFTESTS}
    latency = {name: [] for name in PERFTESTS}
    has_perftest = shutil.which("ucx_perftest") is not None
    if not has_perftest:
        print("moves: without ucx_perftest (ucx-utils)", file=sys.stderr)
    for _ in range(options.turns):
        for transport in TRANSPORTS:
            own[transport].append(moves(options.bin, transport))
        for name, words in PERFTESTS.items() if has_perftest else ():
            raw[name].append(perftest("tag_bw", words, BYTES, 40)["gb_per_s"])
            latency[name].append(perftest("tag_lat", words, 8, 5000)["us"])
    result = {"benchmark": "moves", "turns": options.turns, "own": {}, "ucx_perftest": {}}
    for transport, runs in own.items():
        sizes = [body["bytes"] for body in runs[0]["bodies"]]
        result["own"][transport] = {
            "there_and_back_us": statistics.median(run["there_and_back_us"] for run in runs),
            "gb_per_s": {str(size): statistics.median(run["bodies"][i]["gb_per_s"] for run in runs)
                         for i, size in enumerate(sizes)}}
        result["machine"] = {key: runs[0][key] for key in ("processor", "cores", "build", "version")}
    if has_perftest:
        for name in PERFTESTS:
            result["ucx_perftest"][name] = {"one_way_us": statistics.median(latency[name]),
                                            "gb_per_s": {str(BYTES): statistics.median(raw[name])}}
    ceilings = subprocess.run([f"{options.bin}/bench_suite", "--ceilings"], check=True, capture_output=True, text=True)
    result["memory_copy_gb_per_s"] = json.loads(ceilings.stdout)["copy"]["rate"] * 1e-9
    result["rechunk_2_gib_4_ranks_s"] = {"tessera": statistics.median(ranks_rechunk(options.bin) for _ in range(3))}
    if options.dask:
        result["rechunk_2_gib_4_ranks_s"]["dask.distributed"] = dask_rechunk(options.turns)
    text = json.dumps(result, indent=1)
    print(text)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
