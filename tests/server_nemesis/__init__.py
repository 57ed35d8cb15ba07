"""Histories of a parameter server while ranks are killed and stopped: what was acknowledged must be there."""
