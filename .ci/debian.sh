#!/usr/bin/env bash
# A fresh Debian with nothing but git and make, in a chroot, and there the README's commands; by hand or nightly, as root.
#
#   .ci/debian.sh trixie /var/tmp/chroots setup              # Debian 13
#   .ci/debian.sh bookworm /var/tmp/chroots demo test        # Debian 12
#
# It needs debootstrap, some 10 GB in the folder, and Debian's and PyPI's servers. The committed state of this checkout is
# cloned into it. A chroot that is there already is used again with the newest commit; delete it to start from nothing.
# Each target's log is FOLDER/SUITE-TARGET.log; the exit code is that of the first target that fails.
set -euo pipefail

if [ $# -lt 3 ]; then
  sed -n 's/^#   //p' "$0" >&2
  exit 2
fi
suite=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
shift 2
checkout=$(cd "$(dirname "$0")/.." && pwd)
root=$folder/$suite
source=$root/root/fluidity-da

stamp() { printf '%s %-9s %s\n' "$(date +%H:%M:%S)" "$suite" "$*"; }

mounted=()
release() { for path in "${mounted[@]}"; do umount -l "$path" || true; done; }
trap release EXIT

if [ ! -e "$root/etc/debian_version" ]; then
  stamp "debootstrap"
  debootstrap --variant=minbase --include=git,make "$suite" "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" \
    > "$folder/$suite-debootstrap.log"
fi
stamp "Debian $(cat "$root/etc/debian_version")"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
# pip inside finds a site's own certificates where pip outside does
inside=(HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 CI="${CI:-}")
if [ -n "${PIP_CERT:-}" ]; then
  cp "$PIP_CERT" "$root/etc/pip-certificates.pem"
  inside+=(PIP_CERT=/etc/pip-certificates.pem)
fi
for path in proc sys dev dev/pts dev/shm; do
  mountpoint -q "$root/$path" || { mount --bind "/$path" "$root/$path"; mounted=("$root/$path" "${mounted[@]}"); }
done

[ -d "$source/.git" ] || git clone -q --no-hardlinks "$checkout" "$source"
git -C "$source" fetch -q "$checkout" HEAD
git -C "$source" reset -q --hard FETCH_HEAD
stamp "commit $(git -C "$source" log -1 --format='%h %s')"

for target in "$@"; do
  began=$SECONDS
  code=0
  chroot "$root" /usr/bin/env -i "${inside[@]}" make -C /root/fluidity-da "$target" > "$folder/$suite-$target.log" 2>&1 || code=$?
  stamp "make $target: exit $code after $((SECONDS - began)) s; $folder/$suite-$target.log"
  [ "$code" = 0 ] || { tail -25 "$folder/$suite-$target.log"; exit "$code"; }
done
