#!/usr/bin/env bash
# Writes constraints/soak.txt: the newest Airflow's environment, and what CeleryExecutor needs beside it for `make soak`.
# Run again when that environment's file has changed, or to take newer versions of the others:
#
#   constraints/generate-soak.sh 3.3 [python3.11]
set -euo pipefail

minor=${1:?"usage: $0 <airflow minor version> [python]"}
python=${2:-python3.11}
here=$(cd "$(dirname "$0")" && pwd)
base="$here/airflow-$minor.txt"
target="$here/soak.txt"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check -c "$base" -e "$here/..[cli,dev]" \
  apache-airflow-providers-celery
{
  echo "# Environment of the soak, on $("$work/venv/bin/python" -V): $(basename "$base") and CeleryExecutor with Redis."
  echo "# Made by: constraints/generate-soak.sh $minor"
  "$work/venv/bin/pip" freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==[^ ]+$' | LC_ALL=C sort -f
} >"$work/constraints.txt"
mv "$work/constraints.txt" "$target"
echo "$target: $(grep -c == "$target") packages"
