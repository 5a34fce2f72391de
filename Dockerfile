# A CPU image: docker build -t synthdistill .    and    docker run --rm -v "$PWD:/work" synthdistill synthdistill-train --help
FROM python:3.11-slim
# opencv-python, which Bob brings, needs these two libraries
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*
# where torch's builds without CUDA are
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY . /source
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" --constraint /source/constraints.txt /source
WORKDIR /work
CMD ["synthdistill-train", "--help"]
