"""The performance gate: is this code slower than it was?

Parts of a profile's cells (`cases`) are timed in fresh processes (`worker`, `tree`), each against
plain work of the same kind beside it (`plain`), and what is exact is counted (`counts`,
`callgrind`). What was measured meets a stored baseline, or another commit measured in turn, under
one rule (`decide`). `run` puts it together; `files` keeps and `show` tells what came of it.
"""
