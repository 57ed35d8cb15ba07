"""The C++ core of pyccl."""
