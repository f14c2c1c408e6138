#!/usr/bin/env bash
# scripts/test.sh [arguments of ctest...]: installs what is missing, builds, and runs every test that
# this machine can run. A test that needs what the machine lacks skips itself and says why. With
# TESSERA_REQUIRE_CUDA_TOOLKIT=1 in the environment, a missing CUDA toolkit is a failure.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

describe_devices
configure host
build host
run_tests host -- "$@"
