# Stand-in for the official prom/prometheus image, for machines that reach no image registry.
# Debian's own (2.42), with the official image's paths, user, volume and entry point.
ARG BASE
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends prometheus wget \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=65534 --group=65534 /prometheus
EXPOSE 9090
USER 65534:65534
WORKDIR /prometheus
VOLUME ["/prometheus"]
LABEL stand-in=true
ENTRYPOINT ["/usr/bin/prometheus"]
