# The tested set of packages, this package as a wheel, and the workflow with its papers.
#
#   docker build -t mergesuite .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" \
#       -e MERGESUITE_IMAGE="$(docker image inspect -f '{{.Id}}' mergesuite)" mergesuite --cores all
#
# An image does not know its own digest: what MERGESUITE_IMAGE says is in each run.json.
# The mounted folder gets results/ and Snakemake's notes on them, so that a second run goes on where
# the first one ended. Data elsewhere: -v /scratch/data:/data -e MERGESUITE_DATA=/data.
# For the same image again, name the base by its digest: --build-arg BASE=python@sha256:...
ARG BASE=python:3.11-slim
FROM ${BASE}

WORKDIR /opt/mergesuite
COPY requirements.lock ./
RUN sed -n '/^uv==/,/[^\\]$/p' requirements.lock > /tmp/uv.lock \
    && pip install --no-cache-dir --require-hashes -r /tmp/uv.lock \
    && uv pip install --system --no-cache --require-hashes --compile-bytecode -r requirements.lock

COPY pyproject.toml setup.py README.md LICENSE ./
COPY src src
COPY replications replications
COPY workflow/schemas workflow/schemas
RUN uv pip install --system --no-cache --no-deps --no-build-isolation --compile-bytecode . \
    && rm -rf build src

COPY Snakefile ./
COPY workflow workflow
COPY config config
COPY profiles profiles

# Any user may run it, one without a name too, for which Snakemake asks; what libraries keep for
# themselves goes where that user can write.
ENV HOME=/tmp USER=mergesuite MERGESUITE_IMAGE=unknown
WORKDIR /work
# Named in full because a mounted folder need not have a config of its own.
ENTRYPOINT ["snakemake", "--snakefile", "/opt/mergesuite/Snakefile", \
    "--configfile", "/opt/mergesuite/config/config.yaml"]
CMD ["--cores", "all"]
