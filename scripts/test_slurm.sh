#!/usr/bin/env bash
# scripts/test_slurm.sh [RANKS_PROGRAM]: starts a Slurm of two nodes on this machine, with its own munge, in a folder
# of its own, and runs four ranks on it: as `srun --mpi=pmix` starts them, and with TESSERA_RENDEZVOUS alone. Their
# results have one rank's bits, also where one of them is killed and the others are to go on. Builds the program where none is given. Needs root and the packages slurm-wlm,
# slurm-wlm-basic-plugins and munge, which it installs; with --if-installed it exits 77 instead.
set -euo pipefail
if_installed=0
if [ "${1:-}" = --if-installed ]; then
  if_installed=1
  shift
fi
skip() {
  echo "skipped: $*"
  exit 77
}
[ "$(id -u)" -eq 0 ] || skip "a Slurm of its own needs root"
PATH=$PATH:/usr/sbin
if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
  [ "$if_installed" -eq 0 ] || skip "Slurm is not installed (packages slurm-wlm, slurm-wlm-basic-plugins, munge)"
  apt-get -qq update >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    slurm-wlm slurm-wlm-basic-plugins munge >/dev/null
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ $# -gt 0 ]; then
  program=$1
else
  . "$root/scripts/setup.sh"
  configure host
  build host ranks_program
  program=$root/build/host/bin/ranks_program
fi

# Slurm's own users must reach it.
dir=$(mktemp -d /tmp/tessera-slurm.XXXXXX)
chmod 755 "$dir"
daemons=()
clean_up() {
  kill "${daemons[@]}" 2>/dev/null || true
  sleep 0.2
  kill -9 "${daemons[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap clean_up EXIT

mkdir -p "$dir"/{munge,state,n1/spool,n2/spool,n1/tmp,n2/tmp}
head -c 1024 /dev/urandom >"$dir/munge/key"
chmod 400 "$dir/munge/key"
chmod 711 "$dir/munge"
munged --foreground --force --num-threads=2 --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
  --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" \
  >"$dir/munge.out" 2>&1 &
daemons+=($!)
ports=$((20000 + $$ % 20000))
host=$(hostname -s)
cat >"$dir/slurm.conf" <<CONF
ClusterName=tessera
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$ports
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/%n/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/%n/pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/%n/log
TmpFS=$dir/%n/tmp
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((ports + 1)) CPUs=4
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((ports + 2)) CPUs=4
PartitionName=all Nodes=n1,n2 Default=YES State=UP
CONF
export SLURM_CONF=$dir/slurm.conf
for _ in $(seq 100); do
  [ -S "$dir/munge/socket" ] && break
  sleep 0.05
done
slurmctld -D -f "$dir/slurm.conf" >"$dir/slurmctld.out" 2>&1 &
daemons+=($!)
for node in n1 n2; do
  slurmd -D -N "$node" -f "$dir/slurm.conf" >"$dir/$node.out" 2>&1 &
  daemons+=($!)
done
ready() { [ "$(sinfo -h -N -o %t 2>/dev/null | grep -c '^idle')" = 2 ]; }
for _ in $(seq 300); do
  ready && break
  sleep 0.1
done
if ! ready; then
  tail -n 20 "$dir"/*.log "$dir"/*.out "$dir"/n?/log
  echo "Slurm did not start"
  exit 1
fi

# The bits of one rank, each line as often as there are ranks.
"$program" bits | sort >"$dir/alone"
for _ in 1 2 3 4; do cat "$dir/alone"; done | sort >"$dir/wanted"
[ -s "$dir/wanted" ]
export TESSERA_WORKERS=1
run() {
  local what=$1
  shift
  if ! timeout 120 srun -N 2 -n 4 "$@" "$program" bits >"$dir/got" 2>"$dir/error"; then
    cat "$dir/error"
    tail -n 20 "$dir"/n?/log
    exit 1
  fi
  sort "$dir/got" | cmp - "$dir/wanted"
  echo "four ranks on two nodes of Slurm, $what: the bits of one"
}
TESSERA_JOB_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export TESSERA_JOB_TOKEN
TESSERA_RENDEZVOUS=127.0.0.1:$((ports + 3)) run "meeting at TESSERA_RENDEZVOUS" --mpi=none

# One rank is killed: the others come to what all would have come to.
"$program" survive kept 2>/dev/null | sort >"$dir/kept_alone"
for _ in 1 2 3; do cat "$dir/kept_alone"; done | sort >"$dir/kept"
[ -s "$dir/kept" ]
TESSERA_ON_RANK_LOSS=recover TESSERA_RENDEZVOUS=127.0.0.1:$((ports + 4)) timeout 120 \
  srun -N 2 -n 4 --mpi=none --kill-on-bad-exit=0 "$program" survive kept >"$dir/got" 2>"$dir/error" &
job=$!
for _ in $(seq 300); do
  [ "$(grep -c 'is process' "$dir/error")" = 4 ] && break
  sleep 0.1
done
victim=$(sed -n 's/^rank 0 is process //p' "$dir/error")
sleep 0.2
kill -9 "$victim"
wait "$job" || true  # srun says that one was killed
if ! sort "$dir/got" | cmp - "$dir/kept"; then
  cat "$dir/error"
  tail -n 20 "$dir"/n?/log
  exit 1
fi
echo "four ranks on two nodes of Slurm of which one is killed: the others come to the bits of one"

if srun --mpi=list 2>&1 | grep -qw pmix; then
  run "started by srun --mpi=pmix" --mpi=pmix
else
  echo "this Slurm has no PMIx: srun --mpi=pmix was not tried"
fi
