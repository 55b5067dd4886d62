"""The house's own tools: they write tracked files from other tracked files, and are never installed."""
