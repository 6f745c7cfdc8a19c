#!/bin/sh
# Installs the shared libraries that the wheels expect, or names them where we may not.  usage: .ci/system-packages.sh app|dev
set -eu
libraries="libusb-1.0-0 libgl1 libegl1 libx11-6 libgomp1 libglib2.0-0"        # open3d, opencv
[ "$1" = dev ] && libraries="$libraries libosmesa6 libgl1-mesa-dri chromium" # LIBERO's renderer, the browser tests
command -v dpkg-query >/dev/null || { echo "note: not a Debian system; the equivalents of these are needed: $libraries"; exit 0; }
missing=""
for name in $libraries; do
  # libglib2.0-0 is called libglib2.0-0t64 on newer releases
  dpkg-query -W -f '${Status}\n' "$name" "${name}t64" 2>/dev/null | grep -q 'ok installed' || missing="$missing $name"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then
  apt-get update -q
  # shellcheck disable=SC2086 # a list of names
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
else
  echo "error: system libraries are missing; install them first: sudo apt-get install$missing" >&2
  exit 1
fi
