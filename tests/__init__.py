"""Tests of pyccl; a package, so that the scripts that run under mpirun can import the helpers."""
