# Usher in a container: built on Debian 12, run on Debian 12 without compiler, shell history or secrets, as a plain user.
#
#   docker build -t bbb-usher .
#   docker run -d --name usher -p 8080:8080 -p 127.0.0.1:8081:8081 -v usher:/var/lib/usher bbb-usher
#   docker exec -i usher usher server add https://bbb1.example.org --secret - < bbb1.secret
#   docker exec usher usher tenant add moodle

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked && install -D target/dist/usher /out/usher

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/usher --shell /usr/sbin/nologin usher \
    && install -d -m 0700 -o usher -g usher /var/lib/usher
COPY --from=build /out/usher /usr/bin/usher
# No configuration file: defaults, and these; any other key the same way (docs/configuration.md).
ENV USHER_LISTEN__HTTP=0.0.0.0:8080 \
    USHER_ADMIN__LISTEN=0.0.0.0:8081 \
    USHER_STORE__URL=sqlite:/var/lib/usher/usher.db
USER usher
WORKDIR /var/lib/usher
VOLUME /var/lib/usher
EXPOSE 8080 8081
# SIGTERM drains for process.grace_stop (10s); give `docker stop` more than that: docker stop -t 30.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /livez HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["usher"]
CMD ["serve"]
