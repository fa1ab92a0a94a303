-- One database for each who keeps something, beside Airflow's own, which the image makes (POSTGRES_DB).
CREATE DATABASE mlflow;
CREATE DATABASE rporec;
