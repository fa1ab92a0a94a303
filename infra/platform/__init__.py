"""The whole platform on one machine: MLflow, Airflow and the service behind `make platform`; not the containers."""
