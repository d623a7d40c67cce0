# syntax=docker/dockerfile:1
ARG NODE_VERSION=22

# The build: everything that is needed to compile the client and the server.
FROM node:${NODE_VERSION}-bookworm-slim AS build
ARG TARGETARCH
ENV NODE_ENV=development \
    PATH=/app/node_modules/.bin:$PATH
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates \
        g++ \
        git \
        make \
        python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci
COPY . .
RUN npm run build -- --arch "$TARGETARCH" \
    && npm prune --omit=dev

# The result: what is needed to run.
FROM node:${NODE_VERSION}-bookworm-slim
LABEL org.opencontainers.image.title="notes" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://example.org/notes"
ENV NODE_ENV=production PORT=8080
RUN groupadd --gid 1001 notes \
    && useradd --uid 1001 --gid notes --create-home notes
WORKDIR /app
COPY --from=build --chown=notes:notes /app/node_modules ./node_modules
COPY --from=build --chown=notes:notes /app/dist ./dist
USER notes
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=3s --retries=3 \
    CMD ["node", "dist/health.js"]
ENTRYPOINT ["node"]
CMD ["dist/server.js"]
