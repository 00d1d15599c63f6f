# A gateway: HTTP, keys, templates, the store. It runs no model. Built from the repository's root:
#   docker build --file deploy/gateway.Dockerfile --tag softprompt-gateway .
# An index with torch's CPU builds (--build-arg PIP_EXTRA_INDEX_URL=…) leaves gigabytes of CUDA out.
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
