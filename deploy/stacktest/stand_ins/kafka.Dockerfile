# Stand-in for the official apache/kafka image, for machines that reach no image registry.
# The same release's jars with the official image's paths, user, volumes and start-up by KafkaDockerWrapper.
ARG BASE
FROM ${BASE}
RUN apt-get update \
    && mkdir -p /usr/share/man/man1 \
    && apt-get install -y --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 appuser \
    && mkdir -p /opt/kafka/config /opt/kafka/logs /opt/kafka/libs /etc/kafka/docker /etc/kafka/secrets \
        /mnt/shared/config /var/lib/kafka/data \
    && touch /etc/kafka/docker/log4j2.yaml /etc/kafka/docker/tools-log4j2.yaml \
    && chown -R appuser:appuser /opt/kafka /mnt/shared/config \
    && chown -R appuser:root /var/lib/kafka /etc/kafka
COPY --chown=appuser:appuser libs/ /opt/kafka/libs/
COPY --chown=appuser:appuser kafka-run /etc/kafka/docker/run
EXPOSE 9092
USER appuser
VOLUME ["/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"]
LABEL stand-in=true
CMD ["/etc/kafka/docker/run"]
