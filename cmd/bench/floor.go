package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The floors are what must be done by anybody, by the plainest means: the same
// bytes through tar, sha256sum, gzip -1 and curl, and a bare clone, overlay and
// execve. They are shell scripts over a few functions ([floorPrelude]).

//go:embed floor.c.txt
var floorProgram []byte

// floorPrelude is what each floor's script may call.
const floorPrelude = `
set -e
rm -rf "$SCRATCH"; mkdir -p "$SCRATCH"; cd "$SCRATCH"
floor() { "$FLOOR" "$1" "$LOWER" "$SCRATCH" /bin/true; }
blobs() { cat "$IMAGES/image-$1/blobs.txt"; }
# fetch NAME: all its blobs, verified by their digests
fetch() { for b in $(blobs $1); do curl -sf http://$from/v2/$1/blobs/sha256:$b -o $b; done; (cd "$SCRATCH" && sha256sum $(blobs $1) >/dev/null); }
# pack INPUT: one tar, hashed while it is written
pack() { tar -C "$CONTEXT" -cf - $1 | tee layer.tar | sha256sum >/dev/null; }
squeeze() { gzip -1 <layer.tar >layer.gz; sha256sum layer.gz >layer.sum; }
# send FILE HEX: one upload
send() {
	at=$(curl -sfi -X POST http://$to/v2/floor/blobs/uploads/ | tr -d '\r' | sed -n 's/^Location: //p')
	curl -sf -T $1 -H 'Content-Type: application/octet-stream' "$at&digest=sha256:$2"
}
`

// buildFloor is the script of a build's floor.
func buildFloor(work, mode string) string {
	input := map[string]string{"w1": "file", "w3": "tree", "w4": "big", "p1": "tree", "p2": "tree"}[work]
	base := "fetch base; "
	if strings.HasPrefix(work, "p") {
		base = "" // from nothing
	}
	build := map[string]string{"w2": "floor 20", "w5": "sleep 2"}[work]
	again := map[string]string{"w2": "floor 10", "w5": "sleep 2"}[work]
	look := map[string]string{"w1": "sha256sum $CONTEXT/file", "w3": "find $CONTEXT/tree -newer $CONTEXT/Dockerfile >/dev/null", "w4": "stat $CONTEXT/big >/dev/null"}[work]
	squeeze, send := "", ""
	if input != "" {
		build, again = "pack "+input, look+"; pack "+input
		squeeze, send = "; squeeze", "; send layer.gz $(cut -c1-64 layer.sum)"
	}
	switch {
	case build == "":
		return ""
	case mode == "cold":
		return base + build
	case mode == "cached":
		return "true; " + look
	case mode == "change":
		return again
	case mode == "push":
		return base + build + squeeze + send
	}
	return base + build + squeeze
}

const (
	pullFloor = `fetch $image`
	runFloor  = `fetch $image; mkdir root; for b in $(blobs $image); do gzip -t $b 2>/dev/null && tar -C root -xzf $b; done; floor 1`
	pushFloor = `for b in $(blobs $image); do send "$IMAGES/image-$image/blobs/sha256/$b" $b; done`
	askFloor  = `curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' http://$from/v2/$image/manifests/1 >/dev/null`
)

// makeFloor compiles the container's floor and makes what it starts in.
func (b *bench) makeFloor() error {
	lower := filepath.Join(b.bed.Disk, "floor-lower")
	if err := os.MkdirAll(lower, 0o755); err != nil {
		return err
	}
	if out, err := exec.Command("tar", "-C", lower, "-xf", b.baseTar).CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	for _, img := range b.images {
		if err := os.WriteFile(filepath.Join(img.layout, "blobs.txt"), []byte(strings.Join(img.blobs, "\n")), 0o644); err != nil {
			return err
		}
	}
	source := filepath.Join(b.bed.Memory, "floor.c")
	if err := os.WriteFile(source, floorProgram, 0o644); err != nil {
		return err
	}
	if out, err := exec.Command("cc", "-O2", "-static", "-o", b.floorProgram(), source).CombinedOutput(); err != nil {
		b.report.leaveOut("the floor in C", fmt.Sprintf("cc: %v: %s", err, out))
	}
	return nil
}

func (b *bench) floorProgram() string { return filepath.Join(b.bed.Memory, "floor") }

// floorPeer is the floor of a cell, measured like a peer.
func (b *bench) floorPeer(c *cell) *peer {
	script := c.floor
	if !strings.HasPrefix(script, "from=") {
		script = fmt.Sprintf("from=%s; to=%s; ", b.near.host, b.target.host) + script
	}
	place := b.bed.Disk
	if c.inMemory {
		place = b.bed.Memory
	}
	scratch := filepath.Join(place, "floor-scratch")
	return &peer{
		name: floorName, fresh: freshFolder(scratch),
		env: []string{
			"SCRATCH=" + scratch, "LOWER=" + filepath.Join(b.bed.Disk, "floor-lower"),
			"FLOOR=" + b.floorProgram(), "IMAGES=" + b.bed.Memory,
		},
		verbs: map[string]verb{c.verb: one(func(j job) []string {
			return []string{"sh", "-c", "CONTEXT=" + j.context + floorPrelude + script}
		})},
	}
}

// floorName is what the report calls the floor.
const floorName = "floor"
