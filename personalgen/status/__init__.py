"""How a home stands, in a second: the last nights, what is live, the next night, and what needs a person.

Reads the catalogue and a few files. Loads neither torch nor MLflow, and so not the settings as a whole either.
"""
