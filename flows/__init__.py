"""Prefect wiring of the steps: the night's order exists here and nowhere else."""
