# A CPU image: docker build --build-arg TORCH_INDEX=INDEX -t synthdistill .    and    docker run --rm -v "$PWD:/work" synthdistill synthdistill-train --help
FROM python:3.11-slim
# opencv-python, which Bob brings, needs these two libraries
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*
# the index of torch's builds without CUDA; without one it is the usual build, of 7 GB
ARG TORCH_INDEX
COPY . /source
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint /source/constraints.txt /source
WORKDIR /work
CMD ["synthdistill-train", "--help"]
