# A gateway: HTTP, keys, templates and the prompt registry. It runs no model. Build it from the repository's root:
#   docker build --file deploy/gateway.Dockerfile --tag softprompt-gateway .
# An index with CPU builds of torch (--build-arg PIP_EXTRA_INDEX_URL=…) saves gigabytes of CUDA libraries.
FROM python:3.11-slim-bookworm

ARG PIP_EXTRA_INDEX_URL
WORKDIR /softprompt
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir --constraint constraints.txt torch \
    && pip install --no-cache-dir --constraint constraints.txt '.[serve,postgres,s3]' \
    && useradd --create-home --uid 1000 softprompt \
    && install --directory --owner 1000 /prompts /home/softprompt/.cache
USER 1000
WORKDIR /home/softprompt
EXPOSE 8000
ENTRYPOINT ["softprompt"]
CMD ["serve", "--help"]
