#!/usr/bin/env bash
# Installs Debian packages, but only those whose command or file is missing, and without asking anything.
#
#   tools/install-debian.sh PACKAGE...
#
# With everything in place it touches neither apt nor the network, so it is safe in front of every make target and on
# machines that are not Debian. It needs root or a sudo that asks for no password; without, it says what to install.
set -euo pipefail

# True if what we need from a package is there, wherever it came from.
is_present() {
    case "$1" in
        build-essential) command -v cc && command -v c++ && command -v make ;;
        ca-certificates) test -s /etc/ssl/certs/ca-certificates.crt || test -s /etc/pki/tls/certs/ca-bundle.crt ;;
        chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
        pkg-config) command -v pkg-config ;;
        iproute2) command -v ip ;;
        # They live in /usr/sbin, which is not on everybody's path.
        nginx-light) command -v nginx || test -x /usr/sbin/nginx ;;
        haproxy) command -v haproxy || test -x /usr/sbin/haproxy ;;
        # Of it only promtool is used, which tests the alerts.
        prometheus) command -v promtool ;;
        util-linux) command -v setpriv && command -v taskset && command -v prlimit ;;
        cmake | curl | git | valgrind | wrk) command -v "$1" ;;
        *) test "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ;;
    esac >/dev/null 2>&1
}

if [ "$#" -eq 0 ]; then
    echo "usage: tools/install-debian.sh PACKAGE..." >&2
    exit 2
fi

missing=()
for package in "$@"; do
    is_present "$package" || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then
    exit 0
fi

if ! command -v apt-get >/dev/null; then
    echo "install-debian: this machine lacks ${missing[*]} and has no apt-get; install them and run this again" >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
        echo "install-debian: this needs root; run 'apt-get install ${missing[*]}' as root and run this again" >&2
        exit 1
    fi
    as_root=(sudo -n)
fi

echo "install-debian: installing ${missing[*]}"
apt_get() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
}
# A third-party source that does not answer must not stop us; the installation itself decides.
apt_get update || echo "install-debian: apt-get update failed; going on with the lists there are" >&2
# Only the programs are wanted. A web server that apt starts would take port 80 of somebody's machine, now and at each boot.
services=()
if [ -d /run/systemd/system ]; then
    for package in "${missing[@]}"; do
        case "$package" in
            nginx-light) services+=(nginx.service) ;;
            haproxy) services+=(haproxy.service) ;;
            prometheus) services+=(prometheus.service) ;;
        esac
    done
fi
if [ "${#services[@]}" -gt 0 ]; then
    "${as_root[@]}" systemctl mask --runtime "${services[@]}"
fi
apt_get install -y --no-install-recommends "${missing[@]}"
if [ "${#services[@]}" -gt 0 ]; then
    "${as_root[@]}" systemctl unmask --runtime "${services[@]}"
    "${as_root[@]}" systemctl disable "${services[@]}"
fi

for package in "${missing[@]}"; do
    if ! is_present "$package"; then
        echo "install-debian: apt-get installed $package, but what it should bring is still missing" >&2
        exit 1
    fi
done
