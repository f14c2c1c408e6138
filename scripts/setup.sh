# Sourced by the other scripts: sets `root`, `jobs` and the compiler cache, installs what
# scripts/packages.txt names and this machine lacks, and says which devices the build is for. Says
# nothing about what is already there. With TESSERA_REQUIRE_CUDA_TOOLKIT=1 in the environment, a missing
# CUDA toolkit is an error, and not a build without the CUDA module.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf 'tessera: %s\n' "$*" >&2; }
stop() {
  say "$*"
  exit 1
}

# Read here and no further: programs warn of TESSERA_ variables that they do not know.
require_cuda=${TESSERA_REQUIRE_CUDA_TOOLKIT:-0}
unset TESSERA_REQUIRE_CUDA_TOOLKIT
case $require_cuda in 0 | 1) ;; *) stop "TESSERA_REQUIRE_CUDA_TOOLKIT is 0 or 1; got $require_cuda" ;; esac

# A compile job takes up to 2 GiB.
jobs=$(nproc)
memory_jobs=$(awk '/^MemAvailable:/ { print int($2 / 2097152) }' /proc/meminfo 2>/dev/null || true)
if [ -n "$memory_jobs" ] && [ "$memory_jobs" -lt "$jobs" ]; then
  jobs=$((memory_jobs > 0 ? memory_jobs : 1))
fi

# Checkouts in different folders share the cache's entries.
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1
[ -w "${HOME:-/nonexistent}" ] || export CCACHE_DIR=${CCACHE_DIR:-$root/build/ccache}

has_package() {
  local status
  status=$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) && [ "$status" = "install ok installed" ]
}

# Fills needed and wanted with the packages that are missing.
find_missing_packages() {
  local package command
  needed=() wanted=()
  while read -r package command; do
    case $package in '' | '#'*) continue ;; esac
    if [ -n "$command" ] && command -v "$command" >/dev/null; then continue; fi
    if has_package "${package#\?}"; then continue; fi
    case $package in
      '?'*) wanted+=("${package#\?}") ;;
      *) needed+=("$package") ;;
    esac
  done <"$root/scripts/packages.txt"
}

apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >/dev/null
}

install_packages() {
  local needed wanted as_root=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "no apt-get here; what scripts/packages.txt names must come from elsewhere (cmake says what it misses)"
    return
  fi
  find_missing_packages
  [ $((${#needed[@]} + ${#wanted[@]})) -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo true; }; }; then
      as_root=(sudo)
    elif [ ${#needed[@]} -gt 0 ]; then
      say "packages are missing and neither root nor sudo is at hand; have them installed and call again:"
      printf 'apt-get install %s\n' "$(echo "${needed[@]}" "${wanted[@]}")"
      exit 1
    else
      say "going on without ${wanted[*]}"
      return
    fi
  fi
  say "installing $(echo "${needed[@]}" "${wanted[@]}")"
  apt update || say "apt-get update failed; trying with the lists at hand"
  if ! apt install -y --no-install-recommends "${needed[@]}" "${wanted[@]}"; then
    # One package that cannot be had must not take the others with it.
    [ ${#needed[@]} -eq 0 ] || apt install -y --no-install-recommends "${needed[@]}" ||
      stop "these packages could not be installed: ${needed[*]}"
    local package
    for package in "${wanted[@]}"; do
      apt install -y --no-install-recommends "$package" || say "going on without $package"
    done
  fi
}

check_versions() {
  local version
  version=$(cmake --version | awk 'NR == 1 { print $3 }')
  printf '3.25\n%s\n' "$version" | sort -V -C || stop "cmake 3.25 or newer is needed; got $version; try Debian 12 or Ubuntu 24.04"
  version=$("${CXX:-g++}" -dumpversion)
  [ "${version%%.*}" -ge 12 ] || stop "g++ 12 or newer is needed; got $version; try CXX=g++-12"
}

# One line on what the build runs on.
describe_devices() {
  local nvcc version module gpu
  nvcc=$(command -v nvcc || { [ -x /usr/local/cuda/bin/nvcc ] && echo /usr/local/cuda/bin/nvcc; } || true)
  version=$([ -z "$nvcc" ] || "$nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p' || true)
  if [ -z "$version" ]; then
    module="without the CUDA module (no CUDA toolkit)"
  elif [ "${version%%.*}" -lt 13 ]; then
    module="without the CUDA module (its toolkit is $version; 13.0 or newer is needed)"
  else
    module="with the CUDA module (toolkit $version)"
  fi
  gpu="no GPU"
  if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    gpu="$(nvidia-smi -L | grep -c '^GPU') GPU(s)"
  fi
  say "build on $(nproc) cores, $gpu, $module"
}

# configure <preset>: quiet unless it fails.
configure() {
  local log cuda=()
  [ "$require_cuda" -eq 0 ] || cuda=(-DTESSERA_CUDA=ON)
  log=$(mktemp)
  if ! (cd "$root" && cmake --preset "$1" "${cuda[@]}") >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    stop "cmake --preset $1 failed"
  fi
  grep -A4 -i warning "$log" >&2 || true
  rm -f "$log"
}

# build <preset> [arguments of cmake --build...]
build() {
  (cd "$root" && NINJA_STATUS='[%f/%t] ' cmake --build --preset "$1" -j "$jobs" "${@:2}") >&2
}

# run_tests PRESET [COMMAND...] [-- arguments of ctest...]: the tests of a preset, under COMMAND. What
# failed is said again at the end, where it is found.
run_tests() {
  local preset=$1 under=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    under+=("$1")
    shift
  done
  (cd "$root" && "${under[@]}" ctest --preset "$preset" -j "$jobs" "${@:2}") && return
  printf '\n== what failed\n'
  grep -A 14 -E ': Failure$|ERROR: |runtime error: |WARNING: ThreadSanitizer|^\[  FAILED|Timeout' \
    "$root/build/$preset/Testing/Temporary/LastTest.log" | head -n 200 || true
  return 1
}

install_packages
check_versions
