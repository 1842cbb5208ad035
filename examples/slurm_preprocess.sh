#!/bin/bash
# One job for each participant of a BIDS dataset, then one that makes the cohort:
#   sbatch --array=1-$(ls -d bids/sub-* | wc -l) slurm_preprocess.sh bids prepared
#   sbatch --dependency=afterany:JOBID --wrap "vagan preprocess bids prepared group --class-column diagnosis"
#SBATCH --cpus-per-task=1
#SBATCH --mem=3G
#SBATCH --time=00:20:00
set -euo pipefail
bids=$1
out=$2
participant=$(find "$bids" -maxdepth 1 -name 'sub-*' -type d -printf '%f\n' | sort | sed -n "${SLURM_ARRAY_TASK_ID}p")
vagan preprocess "$bids" "$out" participant --participant-label "$participant" --jobs 1
