# medlora on a server: not root, a read-only root file system, a health check. docs/deployment.md says how to run it.
# The commands are tested in a folder of their own by tests/security/test_security_container.py.
FROM python:3.12-slim AS packages
COPY requirements.txt /requirements.txt
RUN python -m venv /packages && /packages/bin/python -m pip install --no-cache-dir -r /requirements.txt

FROM python:3.12-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin medlora && install -d -m 700 -o 10001 /data
COPY --from=packages /packages /packages
WORKDIR /app
COPY app.py LICENSE README.md requirements.txt ./
COPY medlora medlora
COPY configs configs
COPY data data
COPY adapters adapters
ENV MEDLORA_HOME=/data \
    MEDLORA_HOST=0.0.0.0 \
    HF_HOME=/data/.medlora/hub \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
USER 10001
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/packages/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
ENTRYPOINT ["/packages/bin/python", "-m", "medlora"]
CMD ["app", "--port", "7860"]
