# syntax=docker/dockerfile:1
#
#   docker build -t sidestream .
#   docker run --read-only -p 8080:8080 -e MONGODB_URI -v "$PWD/sidestream.toml:/etc/sidestream/sidestream.toml:ro" sidestream
#
# In the file: listen = ["0.0.0.0:8080"], so that the container can be reached; uri = { env = "MONGODB_URI" }; and
# admin.listen = "0.0.0.0:8090" only where nobody but your probes and Prometheus reaches that port.

FROM rust:1-bookworm AS build
WORKDIR /build
COPY . .
# The caches outlive the build, the binary does not: hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --profile dist --locked --bin sidestream \
    && cp target/dist/sidestream /usr/local/bin/sidestream \
    && strip --strip-debug /usr/local/bin/sidestream

FROM debian:bookworm-slim
# The authorities that an https upstream or a mongodb+srv server is checked against.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin sidestream
COPY --from=build /usr/local/bin/sidestream /usr/local/bin/sidestream
COPY LICENSE /usr/share/doc/sidestream/LICENSE
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8080
# SIGTERM drains: open streams are told to come back (1001), requests under way are finished.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/sidestream"]
CMD ["--config", "/etc/sidestream/sidestream.toml"]
