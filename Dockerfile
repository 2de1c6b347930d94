# The tested set of packages, this package as a wheel, and the workflow with its papers.
#
#   docker build -t mergesuite .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" mergesuite --cores all
#
# The mounted folder gets results/ and Snakemake's notes on them, so that a second run goes on where
# the first one ended. Data elsewhere: -v /scratch/data:/data -e MERGESUITE_DATA=/data.
FROM python:3.11-slim

WORKDIR /opt/mergesuite
COPY requirements.lock ./
RUN pip install --no-cache-dir uv \
    && uv pip install --system --no-cache --require-hashes --compile-bytecode -r requirements.lock

COPY pyproject.toml setup.py README.md LICENSE ./
COPY src src
COPY replications replications
RUN uv pip install --system --no-cache --no-deps --no-build-isolation --compile-bytecode . \
    && rm -rf build src

COPY Snakefile ./
COPY workflow workflow
COPY config config

# Any user may run it; what libraries keep for themselves goes where that user can write.
ENV HOME=/tmp
WORKDIR /work
# Named in full because a mounted folder need not have a config of its own.
ENTRYPOINT ["snakemake", "--snakefile", "/opt/mergesuite/Snakefile", \
    "--configfile", "/opt/mergesuite/config/config.yaml"]
CMD ["--cores", "all"]
