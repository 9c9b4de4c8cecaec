"""Why a server cannot start; the texts are for people."""


class ListenError(Exception):
    """The port cannot be opened; the text says why and what to do."""


class TlsError(Exception):
    """A certificate, key or authority is unusable; the text names the file and says why."""
