# CPU:        docker build --tag vagan .
# NVIDIA GPU: docker build --tag vagan:cuda --build-arg TORCH_BACKEND=cu126 .
# The digest is that of the image for all architectures: a tag can be moved.
# PyTorch's wheels bring the CUDA libraries, so both stand on the same base; the host gives the driver.
FROM python:3.12.11-slim-bookworm@sha256:519591d6871b7bc437060736b9f7456b8731f1499a57e22e6c285135ae657bf7 AS build
ARG TORCH_BACKEND=cpu
RUN pip install --no-cache-dir "uv==0.13.9" && python -m venv --without-pip /opt/vagan
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN uv pip install --no-cache --python /opt/vagan --torch-backend "$TORCH_BACKEND" --compile-bytecode ".[mri,serve,cluster]"

FROM python:3.12.11-slim-bookworm@sha256:519591d6871b7bc437060736b9f7456b8731f1499a57e22e6c285135ae657bf7
COPY --from=build /opt/vagan /opt/vagan
# a home that any user may write to: hosts often give the container a user of their own
ENV PATH="/opt/vagan/bin:$PATH" HOME=/tmp
RUN useradd --uid 1000 --no-create-home vagan
USER 1000
WORKDIR /data
ENTRYPOINT ["vagan"]
CMD ["--help"]
