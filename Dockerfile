# lebm-text on the CPU:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=… -t lebm-text .      # the address of PyTorch's CPU wheels; without it,
#   docker run --rm -it -v "$PWD:/work" lebm-text data list            # the image has the CUDA build and gigabytes more
FROM python:3.12-slim

# An unprivileged user. What is written to /work stays where that is a volume.
RUN useradd --create-home --uid 1000 lebm && mkdir /work && chown lebm /work
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 LEBM_TEXT_CACHE=/home/lebm/cache

# A step of its own: PyTorch is fetched again only when the pins change.
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /src
COPY constraints.txt ./
RUN pip install --constraint constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY lebm_text lebm_text
COPY lm_eval lm_eval
RUN pip install --constraint constraints.txt '.[kjv,viz,analysis]' && rm -rf /src/*

USER lebm
WORKDIR /work
ENTRYPOINT ["lebm-text"]
CMD ["--help"]
