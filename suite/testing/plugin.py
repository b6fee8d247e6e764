"""The pytest plug-in of the suite."""
