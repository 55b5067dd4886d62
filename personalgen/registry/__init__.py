"""MLflow behind the project's words: runs (tracking), model versions (models), and the gate (promotion).

Import from the modules: the gate needs neither MLflow nor torch, and the command line starts without them.
"""
