#!/usr/bin/env bash
# sbatch deploy/slurm.sh PROGRAM [ARGUMENTS...]: one rank for each node, with all of its cores.
#SBATCH --job-name=tessera
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=01:00:00
set -euo pipefail

TESSERA_JOB_TOKEN=$(openssl rand -hex 32)
TESSERA_RENDEZVOUS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):$((20000 + SLURM_JOB_ID % 20000))
export TESSERA_JOB_TOKEN TESSERA_RENDEZVOUS

# Ranks that miss one another end by themselves and say why: Slurm need not kill them.
srun --mpi=none --kill-on-bad-exit=0 "$@"
