#!/usr/bin/env bash
# Writes constraints/bench.txt or constraints/soak.txt: the newest Airflow's environment, and what `make bench` or
# `make soak` needs beside it. Run again when that environment's file has changed, or to take newer versions of the others:
#
#   constraints/generate-beside.sh bench 3.3 [python3.11]
set -euo pipefail

name=${1:?"usage: $0 bench|soak <airflow minor version> [python]"}
minor=${2:?"usage: $0 bench|soak <airflow minor version> [python]"}
python=${3:-python3.11}
here=$(cd "$(dirname "$0")" && pwd)
target="$here/$name.txt"
others='^$'
case $name in
  bench)
    packages=(apache-airflow-providers-dbt-cloud apache-airflow-providers-databricks 'matplotlib>=3.10')
    # What the others do not take as new as it is there: databricks-sql-connector wants python-dateutil below 3.
    others='^python-dateutil=='
    ;;
  soak) packages=(apache-airflow-providers-celery) ;;
  *) echo "Neither bench nor soak: $name" >&2 && exit 2 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

grep -vE "$others" "$here/airflow-$minor.txt" >"$work/base.txt"
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check -c "$work/base.txt" -e "$here/..[cli,dev]" "${packages[@]}"
{
  echo "# Environment of make $name, on $("$work/venv/bin/python" -V): airflow-$minor.txt and ${packages[*]}."
  echo "# Made by: constraints/generate-beside.sh $name $minor"
  "$work/venv/bin/pip" freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==[^ ]+$' | LC_ALL=C sort -f
} >"$work/constraints.txt"
mv "$work/constraints.txt" "$target"
echo "$target: $(grep -c == "$target") packages"
