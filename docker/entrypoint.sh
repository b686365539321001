#!/bin/sh
# The image's compiled functions lie in a folder that nobody may write; numba uses only a cache that it may write.
# So they are copied (a few MB) to where a read-only root file system leaves room: NUMBA_CACHE_DIR, under /tmp.
set -eu
if [ ! -d "$NUMBA_CACHE_DIR" ]; then
    cp -R /opt/adaptwin/numba "$NUMBA_CACHE_DIR" 2>/dev/null || true # slower without it, not wrong
fi
exec /opt/adaptwin/bin/adaptwin "$@"
