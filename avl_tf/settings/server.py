"""The settings of the server: where it listens, and how much it takes at once."""

import dataclasses

from avl_tf.errors import UserError
from avl_tf.settings import setting

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """Where the server listens, and the bounds of what it is sent."""

    host: str = setting(
        LOOPBACK[0],
        "Address to listen on; 0.0.0.0 is all of this machine's, for others to reach.",
    )
    port: int = setting(8080, "Port to listen on; 0 takes a free one.", upper=65_535)
    tls_cert: str = setting("", "PEM file of the certificate (chain), for https.")
    tls_key: str = setting("", "PEM file of the certificate's private key.")
    server_names: tuple[str, ...] = setting(
        (),
        "Names under which browsers may ask for the page, beside addresses, localhost "
        "and this machine's own name: a page of elsewhere must not pass for ours.",
    )
    max_upload_mb: int = setting(
        64, "Uploads of more million bytes are refused.", lower=1, upper=4096
    )
    max_seconds: int = setting(
        180, "Uploads that last longer are refused, seconds.", lower=1, upper=86_400
    )
    queue: int = setting(
        16,
        "Searches that are at work or wait for their turn; to what is more the server "
        "says 503 and when to come again.",
        lower=1,
        upper=1000,
    )

    def __post_init__(self) -> None:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise UserError(
                "--tls_cert and --tls_key go together: give both for https, or none."
            )

    @property
    def max_bytes(self) -> int:
        """The largest upload, bytes."""
        return self.max_upload_mb * 1_000_000

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK
