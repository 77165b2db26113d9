# The hub: one static binary, which `make build` leaves, and nothing else. No shell, no package
# manager, no git; the certificate authorities for HTTPS are linked into the binary. So it builds
# without a network, and from the same binary to the same layer.
#
#   make build && buildah build --timestamp 0 -t skerry-hub .
FROM scratch
# BINARY is another one where the image is not for the machine that builds it (make release).
ARG BINARY=bin/skerry-hub
COPY --chmod=0555 ${BINARY} /skerry-hub
USER 65532:65532
# Writes below /data (a cache of repositories and bundles) and /tmp alone, where the Deployment in
# config/ mounts volumes; everything else may be read-only.
EXPOSE 8080 8081
LABEL org.opencontainers.image.title="skerry-hub" \
      org.opencontainers.image.description="GitOps for edge fleets: the hub" \
      org.opencontainers.image.source="https://github.com/skerry-dev/skerry" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/skerry-hub"]
