#!/bin/sh
# Gets what the tests use beside Go: through apt where there is apt and the right
# to use it. Elsewhere it says what is missing and leaves it at that: a test that
# can't do without says so itself.
set -u

wanted=""
command -v redis-server >/dev/null 2>&1 || wanted="$wanted redis-server"
command -v curl >/dev/null 2>&1 || wanted="$wanted curl"
# A browser for the dashboard: Chromium, or Chrome, which is the same to the tests.
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 ||
	command -v google-chrome-stable >/dev/null 2>&1 || wanted="$wanted chromium"
# The race detector links C.
command -v "$(${GO:-go} env CC)" >/dev/null 2>&1 || wanted="$wanted gcc libc6-dev"
[ -n "$wanted" ] || exit 0

root=""
if [ "$(id -u)" -ne 0 ]; then
	if sudo -n true 2>/dev/null; then
		root="sudo -n"
	else
		root=none
	fi
fi

if ! command -v apt-get >/dev/null 2>&1 || [ "$root" = none ]; then
	echo "make test: please install:$wanted (names of Debian's packages; on macOS: brew install redis, brew install --cask chromium)"
	exit 0
fi

echo "make test: installing$wanted"
$root apt-get update -q || echo "make test: apt-get update failed"
# One by one: what one system's archive lacks keeps nothing else out. The services
# of a package need not start: tests start their own.
for package in $wanted; do
	$root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends "$package" ||
		echo "make test: could not install $package; going on without"
done
exit 0
