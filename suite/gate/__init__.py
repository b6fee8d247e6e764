"""The performance gate, which tells whether this code has become slower.

Parts of a profile's cells (`cases`) are timed in fresh processes (`worker`, `tree`), each as a
ratio to plain work of the same kind (`plain`). Operators, synchronisations, memory and instructions
are counted exactly (`counts`, `callgrind`). One rule (`decide`) compares the measurements with a
stored baseline, or with another commit that is measured in turn. `run` combines these steps;
`files` stores the results and `show` presents them.
"""
