"""The revisions, oldest first; each owns what it creates and never imports the schema of today."""
