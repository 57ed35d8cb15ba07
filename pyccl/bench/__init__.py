"""`python -m pyccl.bench`: pyccl beside the launcher's own MPI, in one run, with every result checked."""
