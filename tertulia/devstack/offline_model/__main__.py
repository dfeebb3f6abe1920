"""`python -m tertulia.devstack.offline_model`: the offline model as a process of its own."""

import argparse

from tertulia.devstack.offline_model.serve import run


def main() -> None:
    """Read the arguments and serve until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m tertulia.devstack.offline_model", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0 = a free one, which is printed")
    parser.add_argument("--delay-ms", type=int, default=0, help="wait so long before each answer")
    arguments = parser.parse_args()
    run(arguments.host, arguments.port, max(arguments.delay_ms, 0))


if __name__ == "__main__":
    main()
