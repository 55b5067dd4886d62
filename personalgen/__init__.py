"""personalgen: a nightly pipeline from user history tables to one generated image for every user."""

__version__ = "0.1.0"
