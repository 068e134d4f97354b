#!/usr/bin/env bash
# The course's model on one GPU, from raw stories to weights with a card. From the project's folder:
#
#   bash docs/one-gpu.sh TRAIN TEST [OPTION OF tinytale train ...]
#
# TRAIN and TEST are files of stories. Called again, it goes on where it was stopped. Two variables change it: TINYTALE
# is the command to call (`python3 run.py`, which sets everything up), SUITE how to evaluate (`full`).

set -euo pipefail
train=${1:?expected the stories to train on}
test=${2:?expected the stories to score the model on}
shift 2

tinytale() { ${TINYTALE:-python3 run.py} "$@"; }

tinytale doctor
tinytale prepare "$train" --test "$test" --out datasets/course
tinytale train datasets/course --recipe course --out runs/course --resume "$@"

# Settings and the moment to stop are chosen by the dev split; the test split is scored once, last.
tinytale evaluate runs/course --split dev
tinytale evaluate runs/course --suite "${SUITE:-full}"
tinytale export runs/course --out weights/course
tinytale generate weights/course "Once upon a time"
