#!/usr/bin/env bash
# scripts/demo.sh [NETCDF_FILE_DIRECTORY_OR_PATTERN]: installs what is missing, builds, and runs
# `tessera demo` over the given files, or over data it makes itself.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

describe_devices
configure host
build host --target tessera_tool
exec "$root/build/host/bin/tessera" demo "$@"
