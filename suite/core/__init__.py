"""What every part uses: errors, random streams, the registry, parallel processes."""
