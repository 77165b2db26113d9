# The hub: its static binary and the one that opens SOPS files, which `make build` leaves, and nothing
# else. No shell, no package manager, no git; the certificate authorities for HTTPS are linked into the
# binaries. So it builds without a network, and from the same binaries to the same layers.
#
#   make build && buildah build --timestamp 0 -t skerry-hub .
FROM scratch
# They are others where the image is not for the machine that builds it (make release).
ARG HUB=bin/skerry-hub
ARG SOPS=bin/skerry-sops
COPY --chmod=0555 ${SOPS} /skerry-sops
COPY --chmod=0555 ${HUB} /skerry-hub
USER 65532:65532
# Writes below /data (a cache of repositories and bundles) and /tmp alone, where the Deployment in
# config/ mounts volumes; everything else may be read-only.
EXPOSE 8080 8081
LABEL org.opencontainers.image.title="skerry-hub" \
      org.opencontainers.image.description="GitOps for edge fleets: the hub" \
      org.opencontainers.image.source="https://github.com/skerry-dev/skerry" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/skerry-hub"]
