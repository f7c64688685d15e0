#!/usr/bin/env bash
# Writes constraints/bench.txt: the newest Airflow's environment, and what `make bench` measures beside this package.
# Run again when that environment's file has changed, or to take newer versions of the others:
#
#   constraints/generate-bench.sh 3.3 [python3.11]
set -euo pipefail

minor=${1:?"usage: $0 <airflow minor version> [python]"}
python=${2:-python3.11}
here=$(cd "$(dirname "$0")" && pwd)
base="$here/airflow-$minor.txt"
target="$here/bench.txt"
# What the others do not take as new as it is there: databricks-sql-connector wants python-dateutil below 3.
others='^python-dateutil=='
packages=(apache-airflow-providers-dbt-cloud apache-airflow-providers-databricks 'matplotlib>=3.10')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

grep -vE "$others" "$base" >"$work/base.txt"
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check -c "$work/base.txt" -e "$here/..[cli,dev]" "${packages[@]}"
{
  echo "# Environment of the benchmarks, on $("$work/venv/bin/python" -V): $(basename "$base") and the peers."
  echo "# Made by: constraints/generate-bench.sh $minor"
  "$work/venv/bin/pip" freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==[^ ]+$' | LC_ALL=C sort -f
} >"$work/constraints.txt"
mv "$work/constraints.txt" "$target"
echo "$target: $(grep -c == "$target") packages"
