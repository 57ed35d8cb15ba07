"""Histories of a parameter server whose servers and workers are killed and stopped: what was acknowledged must be there."""
