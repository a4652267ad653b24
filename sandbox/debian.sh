#!/bin/sh
# debian.sh: the real schedulers of the sandbox, from Debian's own packages. Installs only what is missing, only as root on Debian or
# Ubuntu, and says what it does; elsewhere it says what will be skipped and succeeds.
set -eu
packages="slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins iproute2"
packages="$packages mosquitto"
packages="$packages systemd" # for systemd-analyze
packages="$packages lintian" # judges the Debian package
packages="$packages gridengine-master gridengine-exec gridengine-client"
packages="$packages man-db" # for groff, which finds what is wrong with the manual page
[ -e /usr/sbin/sendmail ] || packages="$packages msmtp-mta" # Grid Engine wants something that mails: not a whole mail server
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: not root on Debian or Ubuntu, so these are not installed:$missing. Without them the sandbox runs the local scheduler only." >&2
    exit 0
fi
echo "setup: installing from Debian, without starting its services:$missing" >&2
# Debian would start munge, slurmctld and slurmd of its own; the sandbox runs private ones. A policy that is already there is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
apt-get update -qq
known=
for package in $missing; do
    if apt-cache show "$package" >/dev/null 2>&1; then known="$known $package"; else echo "setup: this release has no $package" >&2; fi
done
case "$known" in *gridengine*) # without a cell of the system's own, which would ask for answers
    for part in common client exec master; do echo "gridengine-$part shared/gridengineconfig boolean false"; done | debconf-set-selections ;;
esac
[ -z "$known" ] || DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $known >/dev/null
