#!/bin/sh
# Brings Airflow's database to the installed version and writes the password of its one user, admin.
set -eu
airflow db migrate
umask 077
printf '{"admin": "%s"}\n' "${AIRFLOW_PASSWORD:?}" >"$AIRFLOW_HOME/passwords.json"
