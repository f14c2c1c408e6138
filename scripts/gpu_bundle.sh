#!/usr/bin/env bash
# scripts/gpu_bundle.sh [--no-build]: makes build/gpu_bundle, a relocatable folder under 60 MiB for a machine with a
# GPU, CUDA 13 and no network, from the `release` preset: programs, tests labelled gpu, benchmarks, and the
# libraries that they link to but for the C library and CUDA's, which are the target's own. There, in it:
#
#   ./gpu_check.sh OUTPUT_FOLDER
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

preset=release
tree=$root/build/$preset
bundle=$root/build/gpu_bundle
most_mib=60

programs=(tessera_tool bench_gpu_rows example_expression example_out_of_core example_stencil example_tall_svd)

# Tests labelled gpu, one line each: names; once they are built, with time limit, environment and command.
list_tests() {
  (cd "$root" && ctest --preset "$preset" -L '^gpu$' --show-only=json-v1) | python3 -c '
import json, os, shlex, sys
for test in json.load(sys.stdin)["tests"]:
    if sys.argv[1] == "names":
        print(test["name"])
        continue
    if "command" not in test:
        sys.exit("gpu_bundle: the program of {} was not built".format(test["name"]))
    properties = {p["name"]: p["value"] for p in test.get("properties", [])}
    program, *arguments = test["command"]
    print(test["name"], int(properties.get("TIMEOUT", 60)), shlex.join(properties.get("ENVIRONMENT", [])) or "-",
          shlex.join([os.path.basename(program), *arguments]), sep="\t")
' "$1"
}

# The shared libraries that a program loads, but for this project's and the C library's.
libraries_of() {
  ldd "$1" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' |
    grep -vE '/(libtessera|libc|libm|libdl|librt|libpthread|libresolv|ld-linux[^/]*)\.so' || true
}

# shellcheck disable=SC2034  # of setup.sh
require_cuda=1
configure "$preset"
mapfile -t tests < <(list_tests names)
[ "${#tests[@]}" -gt 0 ] || say "no test is labelled gpu"
[ "${1:-}" = --no-build ] || build "$preset" --target "${programs[@]}" tessera tessera_cuda "${tests[@]}"

rm -rf "$bundle"
payload=$(mktemp -d)
trap 'rm -rf "$payload"' EXIT
mkdir -p "$bundle" "$payload/bin" "$payload/lib/fallback"
list_tests commands >"$bundle/tests.tsv"
mapfile -t test_programs < <(cut -f4 "$bundle/tests.tsv" | cut -d' ' -f1 | sort -u)
for program in "${programs[@]/#tessera_tool/tessera}" "${test_programs[@]}"; do
  strip -o "$payload/bin/$program" "$tree/bin/$program"
done
strip -o "$payload/lib/libtessera_cuda.so" "$tree/lib/libtessera_cuda.so"
# Where there is no NCCL, blocks between ranks go through the hosts.
[ ! -e "$tree/lib/libtessera_nccl.so" ] || strip -o "$payload/lib/libtessera_nccl.so" "$tree/lib/libtessera_nccl.so"
shared=$(readelf -d "$tree/lib/libtessera.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
strip -o "$payload/lib/$shared" "$tree/lib/libtessera.so"
for file in "$payload"/bin/* "$payload"/lib/*.so*; do libraries_of "$file"; done | sort -u | while read -r library; do
  # The target's own C++ library comes first: others that are loaded there were built for it.
  folder=lib
  case $library in */libstdc++.so* | */libgcc_s.so*) folder=lib/fallback ;; esac
  strip -o "$payload/$folder/$(basename "$library")" "$(readlink -f "$library")"
done
cp "$root/scripts/gpu_check.sh" "$root/benchmarks/gpu/rivals.py" "$root/benchmarks/gpu/report.py" "$bundle"
{
  echo "commit $(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)$(git -C "$root" diff --quiet HEAD 2>/dev/null || echo ', with changes')"
  echo "made $(date -u +%Y-%m-%dT%H:%M:%SZ) by $("${CXX:-g++}" --version | head -1)"
  (cd "$payload" && find . -type f -printf '%s %P\n' | sort -k2)
} >"$bundle/manifest.txt"
tar -C "$payload" -czf "$bundle/payload.tar.gz" bin lib

mib=$(du -sm --apparent-size "$bundle" | cut -f1)
[ "$mib" -lt "$most_mib" ] || stop "$bundle has $mib MiB; less than $most_mib are allowed"
say "$bundle: $mib MiB, ${#tests[@]} test programs"
