"""What whoami and whereami share: messages, transports, the pod's facts and the process's life."""

__version__ = "1.0.0"
