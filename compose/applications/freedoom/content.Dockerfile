# The files of the fileset `freedoom-levels`: what the game shows and plays. Only what lies in /files is taken.
FROM debian:bookworm-slim AS packages
RUN apt-get update && apt-get install --yes --no-install-recommends freedoom
FROM scratch
COPY --from=packages /usr/share/games/doom/freedoom1.wad /usr/share/games/doom/freedoom2.wad /files/
