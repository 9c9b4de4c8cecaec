"""Shared by whoami and whereami: messages, transports, the pod's facts and the process's lifecycle."""

__version__ = "1.0.0"
