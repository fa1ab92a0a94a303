#!/bin/sh
# Brings Airflow's database to the installed version, makes the pool of heavy stages, and writes the password of its one user, admin.
set -eu
airflow db migrate
python -m infra.airflow_setup
umask 077
printf '{"admin": "%s"}\n' "${AIRFLOW_PASSWORD:?}" >"$AIRFLOW_HOME/passwords.json"
