# A replica: vLLM as its makers ship it, and softprompt beside it, which vLLM finds by itself. Built from the
# repository's root:
#   docker build --file deploy/replica.Dockerfile --tag softprompt-replica .
FROM vllm/vllm-openai:v0.32.0

WORKDIR /softprompt
COPY constraints-vllm.txt pyproject.toml README.md LICENSE ./
COPY src ./src
# softprompt without its dependencies, whose versions differ from vLLM's; what the plugin needs of them is light.
RUN pip install --no-cache-dir --constraint constraints-vllm.txt jaxtyping platformdirs s3fs sqlalchemy \
    && pip install --no-cache-dir --no-deps .
EXPOSE 8000
ENTRYPOINT ["vllm"]
CMD ["serve", "--help"]
