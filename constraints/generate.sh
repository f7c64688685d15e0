#!/usr/bin/env bash
# Writes constraints/airflow-<minor>.txt: what a fresh environment with this package, its dev tools and one
# Airflow holds today. Run again to take newer versions:
#
#   constraints/generate.sh 3.3.2 [python3.11]
set -euo pipefail

airflow=${1:?"usage: $0 <airflow version> [python]"}
python=${2:-python3.11}
here=$(cd "$(dirname "$0")" && pwd)
minor=$(cut -d. -f1,2 <<<"$airflow")
target="$here/airflow-$minor.txt"
# Upper bounds where this Airflow does not boot with the newest of something; each says why.
caps="$here/caps-$minor.txt"
# The documentation, and what is released, is built with the newest only.
extras=cli,dev
if grep -qx "NEWEST := $minor" "$here/../Makefile"; then extras=$extras,docs,dist; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --upgrade pip
caps_option=()
if [ -e "$caps" ]; then caps_option=(-c "$caps"); fi
"$work/venv/bin/pip" install -qq "${caps_option[@]}" "apache-airflow==$airflow" -e "$here/..[$extras]"
{
  echo "# Test environment for Apache Airflow $airflow on $("$work/venv/bin/python" -V)."
  echo "# Made by: constraints/generate.sh $airflow"
  # Only name==version lines: no addresses, no paths, not this package itself.
  "$work/venv/bin/pip" freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==[^ ]+$' | LC_ALL=C sort -f
} >"$work/constraints.txt"
mv "$work/constraints.txt" "$target"
echo "$target: $(grep -c == "$target") packages"
