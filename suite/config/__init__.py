"""From profiles and presets to validated cells."""
