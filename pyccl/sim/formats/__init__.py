"""Readers and writers of other tools' files; see ``docs/trace_formats.md``."""
