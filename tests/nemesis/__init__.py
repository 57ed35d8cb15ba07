"""Breaks ranks on purpose, at points drawn from a seed, and judges what the others see.

    python -m tests.nemesis --seed 7 --rounds 200 --faults kill,stop,fork --mpi none --ranks 4

A round starts the ranks as processes, lets them run a drawn sequence of operations with known answers, and injects one
fault into one rank. `python -m tests.nemesis --seed 7 --only 31` repeats round 31 of seed 7 with every record shown.
"""
