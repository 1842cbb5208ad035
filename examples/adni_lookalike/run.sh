#!/bin/bash
# The whole way of adni.sh on people who do not exist: twenty of them, scanned twice, coarse voxels, little training.
# The scores say that every step works, and nothing about the method. Needs no data and no GPU:
#   run.sh OUT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
[ -d "$out/raw" ] || vagan atrophy "$out/truth" --subjects 20 --spacing-mm 8 --healthy-follow-up \
    --raw "$out/raw" --raw-spacing-mm 1.6
[ -f "$out/download/truth.csv" ] || python "$here/simulate.py" "$out/raw" "$out/download"
export IMPORT="--test-subjects $out/download/test_subjects.txt --validation-subjects $out/download/validation_subjects.txt"
export TRAIN="--set training.generator_updates=60 training.batch_size=2 training.accumulate_grad_batches=1 training.validate_every=20 training.downsampling=1"
export EVALUATE="--subset 2"
"$here/../adni.sh" "$out/download/ADNI ü" "$out/download/tables" "$out" --strip none --spacing 5.2 --size 32x40x28
