FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/tertulia

COPY constraints.txt pyproject.toml README.md LICENSE worker.py ./
COPY activities activities/
COPY workflows workflows/
COPY starter starter/
COPY tertulia tertulia/
# The embedded Temporal and Postgres stay out of the image.
RUN pip install --constraint constraints.txt '.' && rm -rf build *.egg-info

RUN useradd --create-home --uid 10001 tertulia
USER tertulia
WORKDIR /home/tertulia
COPY examples examples/

CMD ["tertulia", "worker"]
