# Read into each terminal of the tutorial, in its folder.
. venv/bin/activate

# An Airflow of its own in this folder, which only this machine reaches,
# and which asks for no login.
export AIRFLOW_HOME=$PWD/airflow
export AIRFLOW__CORE__DAGS_FOLDER=$PWD/dags
export AIRFLOW__CORE__LOAD_EXAMPLES=False
export AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION=False
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS=True
export AIRFLOW__API__HOST=127.0.0.1
export AIRFLOW__API__PORT=${PORT:-8080}
export AIRFLOW__API__BASE_URL=http://127.0.0.1:$AIRFLOW__API__PORT
# Few processes: of the usual 32 workers some were seen to outlive a Ctrl-C.
export AIRFLOW__CORE__PARALLELISM=4
# The first answer of an API server that has just begun can take longer than the usual 5 seconds.
export AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT=60

# The sandbox's connections, once it has written them.
if [ -s sandbox.txt ]; then
  set -a
  eval "$(grep '^AIRFLOW_CONN_' sandbox.txt)"
  set +a
fi
