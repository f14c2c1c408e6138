#!/usr/bin/env bash
# scripts/test.sh [arguments of ctest...]: installs what is missing, builds, and runs every test that
# this machine can run. A test that needs what the machine lacks skips itself and says why.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

describe_devices
configure host
build host
cd "$root"
ctest --preset host -j "$jobs" "$@"
