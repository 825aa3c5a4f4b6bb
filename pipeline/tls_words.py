"""Why a TLS connection was not made, in words that say what to do. Certificates are checked everywhere; nothing falls back to
plain text."""

from __future__ import annotations

import ssl
from typing import Final

_OF_ANOTHER_NAME: Final = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_OUT_OF_TIME: Final = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


def tls_words(error: BaseException) -> str | None:
    """For an error of TLS what was wrong and what to do; None for any other."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message.rstrip('.')}; {_advice(error.verify_code)}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "the handshake failed").lower().replace("_", " ")
        return f"no TLS ({reason}); is this the TLS port, and does the server speak TLS 1.2 or newer?"
    return None


def _advice(code: int) -> str:
    if code in _OF_ANOTHER_NAME:
        return "use the host name that it was issued for"
    if code in _OUT_OF_TIME:
        return "renew it on the server, and check this machine's clock"
    return "name the file of the authority that issued it in SSL_CERT_FILE"
