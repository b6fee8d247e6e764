"""Modules that every part uses: errors, random streams, the registry, parallel processes."""
