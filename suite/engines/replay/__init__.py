"""Work on meta-batches, recorded once and replayed: CUDA graphs and tapes of operations.

All code that depends on private interfaces of the library is in this package.
"""
