"""Why a server can't start; the texts are for people."""


class ListenError(Exception):
    """The port can't be had; the text says why and what to do."""


class TlsError(Exception):
    """A certificate, key or authority can't be used; the text names the file, and says why."""
