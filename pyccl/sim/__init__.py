"""The simulator: training on modelled clusters, and the traces that it reads and writes. None of it needs MPI."""
