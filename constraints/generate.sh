#!/usr/bin/env bash
# Writes constraints/airflow-<minor>.txt: what a fresh environment with this package, its dev tools and one
# Airflow holds today. Run again to take newer versions:
#
#   constraints/generate.sh 3.3.2 [python3.11]
#
# Or constraints/lowest.txt, with the lowest version that pyproject.toml admits of all that it gives one of, Airflow too,
# and the newest of everything else that goes with these:
#
#   constraints/generate.sh lowest [python3.11]
set -euo pipefail

airflow=${1:?"usage: $0 <airflow version>|lowest [python]"}
python=${2:-python3.11}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ "$airflow" = lowest ]; then
  target="$here/lowest.txt"
  title="Test environment with the lowest versions that pyproject.toml admits"
  caps="$work/lowest.txt"
  wanted=apache-airflow
  extras=cli,dev
  "$python" - "$here/../pyproject.toml" >"$caps" <<'END'
import re, sys, tomllib

project = tomllib.load(open(sys.argv[1], "rb"))["project"]
for line in (*project["dependencies"], *project["optional-dependencies"]["cli"]):
    if bound := re.match(r"([\w.-]+)>=([\w.]+)", line):
        print("==".join(bound.groups()))
END
else
  minor=$(cut -d. -f1,2 <<<"$airflow")
  target="$here/airflow-$minor.txt"
  title="Test environment for Apache Airflow $airflow"
  # Upper bounds where this Airflow does not boot with the newest of something; each says why.
  caps="$here/caps-$minor.txt"
  wanted="apache-airflow==$airflow"
  # The documentation, and what is released, is built with the newest only.
  extras=cli,dev
  if grep -qx "NEWEST := $minor" "$here/../Makefile"; then extras=$extras,docs,dist; fi
fi

"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --upgrade pip
caps_option=()
if [ -e "$caps" ]; then caps_option=(-c "$caps"); fi
"$work/venv/bin/pip" install -qq "${caps_option[@]}" "$wanted" -e "$here/..[$extras]"
{
  echo "# $title on $("$work/venv/bin/python" -V)."
  echo "# Made by: constraints/generate.sh $airflow"
  # Only name==version lines: no addresses, no paths, not this package itself.
  "$work/venv/bin/pip" freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==[^ ]+$' | LC_ALL=C sort -f
} >"$work/constraints.txt"
mv "$work/constraints.txt" "$target"
echo "$target: $(grep -c == "$target") packages"
