# A replica: the official vLLM image plus softprompt, which vLLM finds as a plugin. Build it from the repository's root:
#   docker build --file deploy/replica.Dockerfile --tag softprompt-replica .
FROM vllm/vllm-openai:v0.32.0

WORKDIR /softprompt
COPY constraints-vllm.txt pyproject.toml README.md LICENSE ./
COPY src ./src
# Install softprompt without its dependencies, because their versions conflict with vLLM's, and add what the plugin imports.
RUN pip install --no-cache-dir --constraint constraints-vllm.txt jaxtyping platformdirs s3fs sqlalchemy \
    && pip install --no-cache-dir --no-deps .
EXPOSE 8000
ENTRYPOINT ["vllm"]
CMD ["serve", "--help"]
