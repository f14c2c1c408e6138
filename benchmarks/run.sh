#!/usr/bin/env bash
# benchmarks/run.sh [--quick|--full] [--sizes fit-memory|SIZE] [--rivals LIST|none] [--only NAME] [--output FOLDER]:
# builds what is missing, measures the machine, then every workload by Tessera and by other libraries in turns, and
# writes JSON, a table and a page. benchmarks/README.md says how to read them.
set -euo pipefail
exec "${PYTHON:-python3}" "$(dirname "${BASH_SOURCE[0]}")/run.py" "$@"
