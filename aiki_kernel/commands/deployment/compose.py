"""Docker Compose: Qdrant, a model server, both daemons, and JupyterLab when it is asked for.

The containers of ours share two volumes: the home, and the runtime folder with the memory
daemon's socket, so that no port of it is open. What a user must say stands in ``.env``.
"""

from __future__ import annotations

from importlib.metadata import version

from aiki_kernel.commands.deployment.place import Made
from aiki_kernel.version import __version__

_ENV = """\
# A GGUF file for the model server, and the folder on this machine that holds it.
AIKI_MODEL_FOLDER=./models
AIKI_MODEL_FILE=model.gguf
# At least 16 characters: `docker compose --profile lab up` asks for it in the browser.
JUPYTER_TOKEN=
"""

_DOCKERFILE = f"""\
FROM python:3.12-slim
RUN useradd --create-home --uid 1000 aiki \\
 && install -d -o aiki -g aiki -m 0700 /data /run/aiki
RUN pip install --no-cache-dir aiki-kernel=={__version__}
USER aiki
WORKDIR /home/aiki
ENV AIKI_HOME=/data XDG_RUNTIME_DIR=/run/aiki
VOLUME ["/data", "/run/aiki"]
CMD ["aiki", "daemon", "run"]
"""

_COMPOSE = """\
x-settings: &settings
  AIKI_MEMORY__URL: http://qdrant:6333
  AIKI_MEMORY__USER_ID: aiki
  AIKI_MODEL: served/model
  AIKI_ENDPOINTS: >-
    {"served": {"base_url": "http://model:8080/v1", "models": ["model"],
    "input_price": 0, "output_price": 0}}

x-aiki: &aiki
  build: .
  image: aiki-kernel:@VERSION@
  restart: unless-stopped
  init: true
  read_only: true
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  tmpfs: [/tmp]
  volumes:
    - home:/data
    - runtime:/run/aiki
  environment: *settings

services:
  qdrant:
    image: qdrant/qdrant:@QDRANT@
    restart: unless-stopped
    volumes:
      - qdrant:/qdrant/storage
    healthcheck:
      test:
        - CMD
        - bash
        - -c
        - >-
          exec 3<>/dev/tcp/127.0.0.1/6333
          && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3
          && grep -q ' 200 ' <&3
      interval: 15s
      timeout: 5s
      retries: 4
      start_period: 20s
    deploy:
      resources:
        limits: {cpus: "2.0", memory: 2G}

  model:
    image: ghcr.io/ggml-org/llama.cpp:server
    restart: unless-stopped
    command:
      - --model
      - "/models/${AIKI_MODEL_FILE:?name a GGUF file in .env}"
      - --alias=model
      - --host=0.0.0.0
      - --port=8080
      - --ctx-size=4096
    volumes:
      - "${AIKI_MODEL_FOLDER:-./models}:/models:ro"
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    healthcheck:
      test: ["CMD", "curl", "-fsS", "http://127.0.0.1:8080/health"]
      interval: 15s
      timeout: 5s
      retries: 4
      start_period: 120s
    deploy:
      resources:
        limits: {cpus: "4.0", memory: 8G}

  memory:
    <<: *aiki
    command: ["aiki", "daemon", "run"]
    depends_on:
      qdrant: {condition: service_healthy}
    healthcheck:
      test: ["CMD", "aiki", "daemon", "status"]
      interval: 30s
      timeout: 15s
      retries: 3
      start_period: 60s
    deploy:
      resources:
        limits: {cpus: "2.0", memory: 2G}

  health:
    <<: *aiki
    command: ["aiki", "health", "daemon"]
    depends_on:
      memory: {condition: service_healthy}
    healthcheck:
      # Whether it still looks; what it finds is not its own illness.
      test:
        - CMD
        - python
        - -c
        - >-
          import json, time;
          seen = json.load(open("/data/system_health.json"));
          raise SystemExit(time.time() - seen["wall_s"] > seen["stale_after_s"])
      interval: 60s
      timeout: 15s
      retries: 3
      start_period: 90s
    deploy:
      resources:
        limits: {cpus: "0.2", memory: 128M}

  lab:
    <<: *aiki
    profiles: [lab]
    command: ["aiki", "lab", "--no-browser", "--ip=0.0.0.0", "--port=8888"]
    environment:
      <<: *settings
      JUPYTER_TOKEN: "${JUPYTER_TOKEN:-}"
    read_only: false
    working_dir: /data
    ports: ["127.0.0.1:8888:8888"]
    depends_on:
      memory: {condition: service_healthy}
      model: {condition: service_healthy}
    deploy:
      resources:
        limits: {cpus: "2.0", memory: 2G}

volumes:
  qdrant:
  home:
  runtime:
"""


def files() -> list[Made]:
    """The folder of a stack: ``docker compose up`` starts it."""
    return [
        Made("docker-compose.yml", _filled()),
        Made("Dockerfile", _DOCKERFILE),
        Made(".env.example", _ENV),
    ]


def _filled() -> str:
    """The server is of the client's own minor version: they are made for each other."""
    major, minor, *_ = version("qdrant-client").split(".")
    text = _COMPOSE.replace("@VERSION@", __version__)
    return text.replace("@QDRANT@", f"v{major}.{minor}.0")
