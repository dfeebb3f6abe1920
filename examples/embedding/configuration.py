"""Connection settings of this project's Temporal server."""

from pathlib import Path

from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import TLSConfig

from tertulia import Configuration


def from_environment() -> ClientConnectConfig:
    """Read `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS_CLIENT_CERT_PATH`,
    `TEMPORAL_TLS_CLIENT_KEY_PATH` and so on, or the profile `TEMPORAL_PROFILE` of `temporal.toml`.

    Without any of them, use the embedded stack of `tertulia up`.
    """
    return ClientConfig.load_client_connect_config() or Configuration.from_environment().temporal_connect_config()


def with_api_key(address: str, namespace: str, api_key: str) -> ClientConnectConfig:
    """Return the settings of Temporal Cloud with an API key, such as `eu-west-1.aws.api.temporal.io:7233`."""
    return {"target_host": address, "namespace": namespace, "api_key": api_key, "tls": True}


def with_mutual_tls(
    address: str, namespace: str, certificate: Path, private_key: Path, server_ca: Path | None = None
) -> ClientConnectConfig:
    """Return the settings of a server that authenticates clients by certificate.

    Args:
        address: `host:port`.
        namespace: the namespace.
        certificate: PEM file of the client's certificate.
        private_key: PEM file of its key.
        server_ca: PEM file of the CA of the server's certificate; None = the CAs of the system.
    """
    tls = TLSConfig(
        client_cert=certificate.read_bytes(),
        client_private_key=private_key.read_bytes(),
        server_root_ca_cert=server_ca.read_bytes() if server_ca else None,
    )
    return {"target_host": address, "namespace": namespace, "tls": tls}
