# The image of workers on other machines (Dataflow, Flink): sameplace with all it needs to read and write, no trainer.
#   docker build -t europe-west1-docker.pkg.dev/PROJECT/REPOSITORY/sameplace . && docker push ...
#   python -m pipelines.build_shards ... --sdk_container_image europe-west1-docker.pkg.dev/PROJECT/REPOSITORY/sameplace
# The Beam and Python of the image must be those of the machine that sends the job.
FROM apache/beam_python3.11_sdk:2.77.0

WORKDIR /opt/sameplace
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schemas schemas
COPY geodata geodata
COPY pipelines pipelines
COPY training training
RUN pip install --no-cache-dir -c constraints.txt '.[corpus,gcp,aws]' && pip check
# files that every worker is to find under the same path (--mounted /data): COPY my_files /data/my_files

WORKDIR /
# the entry point stays the boot program of Beam's image
