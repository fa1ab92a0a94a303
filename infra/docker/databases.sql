-- One database for each who keeps something; Airflow's own is made by the image (POSTGRES_DB).
CREATE DATABASE mlflow;
CREATE DATABASE rporec;
