"""The supported cipher suites in Go's order of preference, with OpenSSL's and IANA's names."""

from typing import Final

TLS_1_3: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
TLS_1_2: Final = {  # OpenSSL's name to IANA's
    f"ECDHE-{key}-{name}": f"TLS_ECDHE_{key}_WITH_{iana_name}"
    for name, iana_name in (
        ("AES128-GCM-SHA256", "AES_128_GCM_SHA256"),
        ("AES256-GCM-SHA384", "AES_256_GCM_SHA384"),
        ("CHACHA20-POLY1305", "CHACHA20_POLY1305_SHA256"),
        ("AES128-SHA", "AES_128_CBC_SHA"),
        ("AES256-SHA", "AES_256_CBC_SHA"),
    )
    for key in ("ECDSA", "RSA")
}


def iana_name(name: str) -> str:
    """The IANA name of a suite; those of TLS 1.3 have the same name everywhere."""
    return TLS_1_2.get(name, name)
