#!/usr/bin/env bash
# gpu_check.sh OUTPUT_FOLDER [--seconds N] [--stages LIST] [--tests PATTERN] [--rows NAME]
#
# Run in the folder that scripts/gpu_bundle.sh made, on a machine with a GPU; needs no network. Stages:
# facts, tests (those labelled gpu), sanitizer (compute-sanitizer over small benchmark rows), demo (and the
# examples), benchmark, rivals (CuPy, PyTorch, JAX where python3 has them). Each has a time limit, all
# together N seconds (default 280), and what is there after each stage is kept. Writes gpu_check.json,
# gpu_check.txt (the table) and a log for each stage. Exits with 0 when all that ran is right, 3 without a
# device, else 1.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { printf 'gpu_check: %s\n' "$*" >&2; }

[ $# -ge 1 ] || { say "usage: gpu_check.sh OUTPUT_FOLDER [--seconds N] [--stages LIST] [--tests PATTERN] [--rows NAME]"; exit 2; }
out=$1
shift
seconds=280 stages=facts,tests,sanitizer,demo,benchmark,rivals tests=. rows=
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=$2 ;;
    --stages) stages=$2 ;;
    --tests) tests=$2 ;;
    --rows) rows=$2 ;;
    *) say "unknown option $1"; exit 2 ;;
  esac
  shift 2 || { say "an option lacks its value"; exit 2; }
done
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
parts=$work/parts
mkdir -p "$parts" "$work/tmp" "$work/cache"
tar -C "$work" -xzf "$here/payload.tar.gz" || { say "payload.tar.gz cannot be unpacked"; exit 1; }
bin=$work/bin libraries=$work/lib
if ! LD_LIBRARY_PATH=$libraries "$bin/tessera" --version >"$work/version" 2>&1; then
  # The C++ library here is older than the one that built this.
  libraries=$work/lib:$work/lib/fallback
  LD_LIBRARY_PATH=$libraries "$bin/tessera" --version >"$work/version" 2>&1 || {
    say "the programs do not start here: $(cat "$work/version")"
    exit 1
  }
fi
failed=0

wants() { case ",$stages," in *",$1,"*) true ;; *) false ;; esac; }
left() { echo $((seconds - SECONDS)); }
# The smaller of a stage's limit and what is left but for a reserve.
limit() {
  local most=$(($(left) - ${2:-0}))
  [ "$most" -lt "$1" ] || most=$1
  [ "$most" -gt 0 ] || most=0
  echo "$most"
}
# ours SECONDS COMMAND...: a program of the bundle, with a time limit, caches of its own and its libraries.
ours() {
  local most=$1
  shift
  env TMPDIR="$work/tmp" XDG_CACHE_HOME="$work/cache" \
    LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout -k 5 "$most" "$@"
}
# note STAGE STATUS SECONDS TEXT
note() {
  printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$parts/stages.tsv"
  say "$1: $2 ($3 s) $4"
  [ "$2" != failed ] || failed=1
  report
}
report() {
  if command -v python3 >/dev/null; then
    python3 "$here/report.py" "$parts" "$out" || say "the report could not be written"
  else
    cp "$parts"/* "$out"
  fi
}
meaning() {
  case $1 in
    0) echo passed ;;
    *) echo failed ;;
  esac
}
why() {
  case $1 in
    0) ;;
    124 | 137) echo "ended by its time limit" ;;
    75) echo "a row took too long" ;;
    139) echo "crashed (segmentation fault)" ;;
    *) echo "exit status $1" ;;
  esac
}

facts() {
  local fields=name,driver_version,memory.total,memory.used,pci.bus_id,clocks.max.sm,clocks.max.memory,power.limit
  fields=$fields,pcie.link.gen.max,pcie.link.width.max,ecc.mode.current
  cp "$here/manifest.txt" "$parts"
  {
    echo "kernel: $(uname -srm)"
    echo "cores: $(nproc)"
    echo "memory: $(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
    echo "nvcc: $(nvcc --version 2>/dev/null | tail -1 || true)"
    echo "python: $(python3 --version 2>&1 || true)"
  } >"$parts/facts.txt"
  if command -v nvidia-smi >/dev/null; then
    timeout 20 nvidia-smi --query-gpu=$fields --format=csv >"$parts/nvidia_smi.csv" 2>&1
    timeout 20 nvidia-smi topo -m >"$parts/topology.txt" 2>&1
  else
    echo "nvidia-smi is not here" >"$parts/nvidia_smi.csv"
  fi
  ours "$(limit 40)" "$bin/tessera" info >"$out/info.log" 2>&1
  local status=$?
  cp "$out/info.log" "$parts/info.txt"
  note facts "$(meaning $status)" $SECONDS "$(why $status)"
}

# The tests one by one, until the stage's time is over.
run_tests() {
  local begin=$SECONDS stop name most environment command status count=0 wrong=0
  stop=$((SECONDS + $(limit 80 170)))
  : >"$out/tests.log"
  while IFS=$'\t' read -r name most environment command; do
    [[ $name =~ $tests ]] || continue
    [ "$most" -lt $((stop - SECONDS)) ] || most=$((stop - SECONDS))
    if [ "$most" -lt 2 ]; then
      printf '%s\tskipped\t0\tno time was left\n' "$name" >>"$parts/tests.tsv"
      continue
    fi
    [ "$environment" != - ] || environment=
    local at=$SECONDS
    printf '== %s\n' "$command" >>"$out/tests.log"
    eval "ours $most env $environment \"\$bin\"/$command" >"$work/test.log" 2>&1 </dev/null
    status=$?
    cat "$work/test.log" >>"$out/tests.log"
    count=$((count + 1))
    [ $status -eq 0 ] || wrong=$((wrong + 1))
    printf '%s\t%s\t%s\t%s\n' "$name" "$(meaning $status)" $((SECONDS - at)) \
      "$(why $status) $(grep -E '^\[  (PASSED|SKIPPED|FAILED)  \]' "$work/test.log" | sed 's/ (.*//' | head -12 | tr '\n' ';')" \
      >>"$parts/tests.tsv"
  done <"$here/tests.tsv"
  local result=passed
  [ $wrong -eq 0 ] || result=failed
  [ $count -gt 0 ] || result=skipped
  note tests $result $((SECONDS - begin)) "$count programs, $wrong failed"
}

# Small rows under memcheck and racecheck. Some machines refuse the tool, which is no failure of ours.
sanitizer() {
  local begin=$SECONDS tool program status refused result most text=
  program=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
  [ -n "$program" ] || { note sanitizer skipped 0 "compute-sanitizer is not here"; return; }
  : >"$out/sanitizer.log"
  result=refused
  for tool in memcheck racecheck; do
    most=$(limit 30 165)
    [ "$most" -ge 10 ] || { text="$text$tool: no time was left; "; continue; }
    printf '== %s\n' "$tool" >>"$out/sanitizer.log"
    ours "$most" "$program" --tool "$tool" --error-exitcode 9 "$bin/bench_gpu_rows" --quick --repeat 1 \
      --dtype float64 --budget $((most - 8)) --output "$work/sanitizer.json" >"$work/sanitizer.log" 2>&1
    status=$?
    cat "$work/sanitizer.log" >>"$out/sanitizer.log"
    refused=$(grep -m1 -iE 'device not supported|not supported on this|permission|unable to' "$work/sanitizer.log" || true)
    if [ -n "$refused" ]; then
      text="$text$tool: refused here (${refused//=/}); "
      continue
    fi
    text="$text$tool: $(grep -E 'SUMMARY' "$work/sanitizer.log" | tail -1 | sed 's/=* *//') $(why $status); "
    # Of a row whose result is wrong, or that was slow, the tool says nothing.
    case $status in
      9 | 139) result=failed ;;
      *) [ $result = failed ] || result=passed ;;
    esac
  done
  note sanitizer $result $((SECONDS - begin)) "$text"
}

# The demo and the examples, whose results check themselves.
demo() {
  local begin=$SECONDS most status program text="" result=passed
  : >"$out/demo.log"
  mkdir -p "$work/demo"
  for program in "$bin/tessera demo --quick --output $work/demo" "$bin"/example_*; do
    most=$(limit 30 160)
    [ "$most" -ge 3 ] || { text="$text$(basename "${program%% *}"): no time was left; "; continue; }
    printf '== %s\n' "$program" >>"$out/demo.log"
    # shellcheck disable=SC2086  # a command and its arguments
    (cd "$work/demo" && TESSERA_DEVICES=cuda:0 ours "$most" $program) >>"$out/demo.log" 2>&1
    status=$?
    [ $status -eq 0 ] || { result=failed; text="$text$(basename "${program%% *}"): $(why $status); "; }
  done
  note demo $result $((SECONDS - begin)) "$text"
}

# A crash ends one row only: the program goes on behind it.
benchmark() {
  local begin=$SECONDS status=1 most options=()
  [ -z "$rows" ] || options=(--only "$rows")
  : >"$out/benchmark.log"
  for _ in 1 2 3 4 5; do
    most=$(limit 150 35)
    [ "$most" -ge 10 ] || break
    ours "$most" "$bin/bench_gpu_rows" --output "$parts/rows.json" --budget $((most - 8)) "${options[@]}" \
      >>"$out/benchmark.log" 2>&1
    status=$?
    case $status in [0-3] | 124 | 137) break ;; esac
    say "benchmark: $(why $status); going on behind the row"
    options+=(--resume)
  done
  note benchmark "$(meaning $status)" $((SECONDS - begin)) "$(why $status)"
}

rivals() {
  local begin=$SECONDS most
  command -v python3 >/dev/null || { note rivals skipped 0 "python3 is not here"; return; }
  most=$(limit 150 3)
  [ "$most" -ge 12 ] || { note rivals skipped 0 "no time was left"; return; }
  timeout -k 5 "$most" python3 "$here/rivals.py" --output "$parts/rivals.json" --timeout $((most / 3)) \
    >"$work/rivals.log" 2>&1
  note rivals "$(meaning $?)" $((SECONDS - begin)) "$(tr '\n' ';' <"$work/rivals.log" | tail -c 400)"
}

facts
device=$(sed -n 's/^ *no device: //p' "$parts/info.txt" | head -1)
if ! grep -q '^ *cuda:0: ' "$parts/info.txt"; then
  note device missing 0 "no CUDA device is used: ${device:-$(grep -m1 'CUDA: ' "$parts/info.txt" | sed 's/ *CUDA: //')}"
  report
  cat "$out/gpu_check.txt" 2>/dev/null
  exit 3
fi
wants tests && run_tests
wants sanitizer && sanitizer
wants demo && demo
wants benchmark && benchmark
wants rivals && rivals
cat "$out/gpu_check.txt" 2>/dev/null
exit $failed
