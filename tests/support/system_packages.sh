#!/bin/sh
# Install the missing programs of system_packages.txt, where root and apt are at hand. Never fails:
# what cannot be had is said, and the tests that need it skip with the reason (in CI they fail).
PATH=$PATH:/usr/sbin:/sbin
list=$(dirname "$0")/system_packages.txt
missing() {
  grep -v '^#' "$list" | while read -r program package; do
    command -v "$program" >/dev/null || echo "$package"
  done | sort -u | tr '\n' ' '
}

packages=$(missing)
[ -n "$packages" ] || exit 0
echo "The tests would also use (Debian's names): $packages"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "To have them: sudo apt-get install --no-install-recommends $packages"
  exit 0
fi

# Debian starts what it installs, unless this says no. A policy that is there already stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
install() { timeout 300 apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1; }
echo "Installing them ..."
# shellcheck disable=SC2086 # a list of words
if ! install $packages; then
  timeout 120 apt-get update -qq >/dev/null 2>&1
  for package in $packages; do install "$package"; done  # one that is not to be had stops no other
fi
packages=$(missing)
[ -z "$packages" ] || echo "Could not install $packages; tests that need them will say so."
exit 0
