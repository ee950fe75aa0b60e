#!/bin/sh
# Fetches what `make bench` compares with: Debian's tools by apt, BuildKit and
# crane from their Go modules, a Debian root, python3's packages and Go's own
# tree as inputs. What cannot be had is named, and bench leaves it out.
# usage: peers.sh CACHE
set -u
cache=$1
mkdir -p "$cache/bin"
export CGO_ENABLED=0 DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/sbin:/sbin

say() { echo "bench-peers: $*"; }

debian="docker.io containerd podman buildah skopeo umoci crun runc docker-registry busybox-static
	debootstrap gcc libc6-dev iproute2 curl e2fsprogs conmon"
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
	apt-get update -qq
	for p in $debian; do
		dpkg -s "$p" >/dev/null 2>&1 || apt-get install -qq -y --no-install-recommends "$p" >/dev/null || say "$p: not installed"
	done
else
	say "no apt or not root: Debian's tools are used where they are installed"
fi

if [ ! -x "$cache/bin/buildkitd" ]; then
	dir=$(go mod download -json github.com/moby/buildkit@v0.34.2 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
	(cd "$dir" && go build -o "$cache/bin/" ./cmd/buildkitd ./cmd/buildctl) || say "BuildKit: not built"
fi
[ -x "$cache/bin/crane" ] ||
	GOBIN=$cache/bin go install github.com/google/go-containerregistry/cmd/crane@v0.21.5 || say "crane: not built"

pack() { tar --sort=name --mtime=@0 --numeric-owner --format=gnu "$@"; }

if [ ! -f "$cache/debian.tar" ] && [ "$(id -u)" = 0 ]; then
	root=$(mktemp -d)
	if debootstrap --variant=minbase bookworm "$root" >"$cache/debootstrap.log" 2>&1; then
		rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/cache/apt/*.bin "$root"/var/log/* "$root"/dev/* "$root"/run/*
		pack -C "$root" -cf "$cache/debian.part" . && mv "$cache/debian.part" "$cache/debian.tar"
		chroot "$root" apt-get install -qq -y --no-install-recommends --download-only python3 >/dev/null &&
			mkdir -p "$cache/debs" && mv "$root"/var/cache/apt/archives/*.deb "$cache/debs/" || say "python3's packages: not fetched"
	else
		say "a Debian root: not made, see $cache/debootstrap.log"
	fi
	rm -rf "$root"
fi

if [ ! -f "$cache/go.tar" ]; then
	pack -C "$(go env GOROOT)" --owner=0 --group=0 --exclude=./test --exclude=./doc --exclude=./.git \
		--transform='s,^\.,usr/local/go,S' -cf "$cache/go.part" . && mv "$cache/go.part" "$cache/go.tar"
fi
say "ready in $cache"
