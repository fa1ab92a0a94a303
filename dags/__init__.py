"""Airflow schedules only: no logic, no heavy import at parse time."""
