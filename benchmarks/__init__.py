"""How fast and how well: scripts that print figures and write them as JSON; see README.md."""
