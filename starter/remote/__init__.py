"""The client of the API: what the command line works with where `TERTULIA_URL` names one."""

from starter.remote.client import RemoteTertulia

__all__ = ["RemoteTertulia"]
