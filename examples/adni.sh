#!/bin/bash
# From an ADNI download to the paper's Table 2 and Figures 5 and 6:
#   adni.sh IMAGES TABLES OUT [--strip robex ...]       further options are those of `vagan preprocess`
# Every step goes on where it stopped if the same command is given again.
set -euo pipefail
images=$1
tables=$2
out=$3
shift 3
[ -f "$out/study/manifest.csv" ] || vagan import adni "$images" "$tables" "$out/study" --classes MCI AD
vagan preprocess "$out/study" "$out/prepared" "$@"
vagan check "$out/prepared/cohort"
vagan train "$out/prepared/cohort" "$out/vagan"
vagan train "$out/prepared/cohort" "$out/classifier" --method classifier
vagan train "$out/prepared/cohort" "$out/cam" --method cam-classifier
vagan evaluate "$out/prepared/cohort" "$out/vagan" "$out/classifier" "$out/cam" --longitudinal --out "$out/results"
vagan report "$out/results" --hide-ids
