#!/bin/bash
# From an ADNI download to the paper's Table 2 and Figure 5:
#   adni.sh IMAGES TABLES OUT [--strip robex ...]       further options are those of `vagan preprocess`
# Options of other steps are taken from the environment, e.g. IMPORT="--field 3" TRAIN="--set training.seed=2"
# EVALUATE="--min-months 12".
# Every step goes on where it stopped if the same command is given again. Try it on a look-alike first:
# adni_lookalike/run.sh.
set -euo pipefail
images=$1
tables=$2
out=$3
shift 3
step() {
    echo "== vagan $1"
    local begin=$SECONDS
    vagan "$@"
    echo "== $1 took $((SECONDS - begin)) s"
}
cohort="$out/prepared/cohort"
# shellcheck disable=SC2086  # several options in one variable
{
    [ -f "$out/study/manifest.csv" ] || step import adni "$images" "$tables" "$out/study" --classes MCI AD ${IMPORT:-}
    step preprocess "$out/study" "$out/prepared" "$@"
    step check "$cohort"
    step train "$cohort" "$out/vagan" --preset brain ${TRAIN:-}
    step train "$cohort" "$out/classifier" --method classifier --preset brain ${TRAIN:-}
    step train "$cohort" "$out/cam" --method cam-classifier --preset brain ${TRAIN:-}
    step evaluate "$cohort" "$out/vagan" "$out/classifier" "$out/cam" --longitudinal --out "$out/results" ${EVALUATE:-}
    step report "$out/results" --hide-ids ${REPORT:-}
}
