# docker build -t multilith . && docker run -p 8080:8080 -v multilith:/data multilith
# glibc rather than musl: it is what the tests run on, and long-lived heaps stay smaller with its allocator.
ARG NODE_IMAGE=node:24.21.0-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.product.json ./
COPY scripts scripts
COPY src src
COPY modules modules
COPY adapters adapters
RUN node scripts/run.mjs build && rm dist/.tsbuildinfo dist/.build-stamp-*

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
# The compiler stays because a library names it as an optional peer; nothing loads it.
RUN npm ci --omit=dev && rm -rf node_modules/typescript node_modules/@typescript

FROM ${NODE_IMAGE}
# No package manager in the image: what runs is what was built.
RUN rm -rf /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /opt/yarn-* /usr/local/bin/yarn /usr/local/bin/yarnpkg \
 && mkdir /data && chown node:node /data
WORKDIR /app
COPY --from=dependencies /build/node_modules node_modules
COPY --from=build /build/dist dist
COPY package.json ./
COPY config config
ENV NODE_ENV=production \
    MULTILITH_DATA=/data \
    MULTILITH_HTTP_LISTEN=0.0.0.0:8080
USER node
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.MULTILITH_HTTP_LISTEN.split(':').pop()}/livez`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/src/main.js"]
CMD ["start"]
