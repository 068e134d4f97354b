#!/usr/bin/env bash
# Train on several machines under Slurm. From the project's folder:
#
#   sbatch docs/slurm.sh DATASET RUN [OPTION OF tinytale train ...]
#
# Submitted again, it goes on from the last checkpoint.

#SBATCH --job-name=tinytale
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --output=%x-%j.log

set -euo pipefail
dataset=${1:?expected a dataset folder}
run=${2:?expected a folder for the run}
shift 2

if [[ -f .venv/bin/activate ]]; then
    source .venv/bin/activate
fi

# One torchrun on each machine starts one process for each of its GPUs. They meet at a port of the first machine.
processes=${SLURM_GPUS_ON_NODE:-1}
mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 10000))
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK > processes ? SLURM_CPUS_PER_TASK / processes : 1))

exec srun torchrun \
    --nnodes="$SLURM_NNODES" --nproc_per_node="$processes" \
    --rdzv_id="$SLURM_JOB_ID" --rdzv_backend=c10d --rdzv_endpoint="${machines[0]}:$port" \
    -m tinytale train "$dataset" --out "$run" --resume "$@"
