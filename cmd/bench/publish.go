package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/hodbuild/hod/cmd/bench/bed"
)

// What goes through a published port is a file that busybox serves in a container;
// curl reads it on the host.

const (
	publishedSize = "256000000"
	serveScript   = `mkdir -p /srv && head -c ` + publishedSize + ` /dev/zero >/srv/big && exec busybox httpd -f -p 8080 -h /srv`
	readScript    = `test "$(curl -sf -o /dev/null -w '%{size_download}' "$url")" = ` + publishedSize
	floorPort     = "8080"
)

// portOf is a port of the host for each peer: all serve at the same time.
func (b *bench) portOf(p *peer) string {
	floor, _ := strconv.Atoi(floorPort)
	return strconv.Itoa(floor + 1 + slices.Index(b.tools, p))
}

// download reads the whole file.
func download(port string) []string {
	return []string{"sh", "-c", `url="$0"; ` + readScript, "http://127.0.0.1:" + port + "/big"}
}

// serving starts the server in a container, once here is done, and waits until it answers.
func (b *bench) serving(here func(*peer, *job) error) func(*peer, *job) error {
	return func(p *peer, j *job) error {
		if err := here(p, j); err != nil {
			return err
		}
		if err := b.performAll(p, *j, "stop?", "publish"); err != nil {
			return err
		}
		return awaited(bed.Command{Argv: download(j.port)}.Run)
	}
}

// startServer starts the same server outside of any container: the floor.
func (b *bench) startServer() error {
	if !b.needs("s5") {
		return nil
	}
	dir := filepath.Join(b.bed.Memory, "served")
	script := `mkdir -p "$0" && head -c ` + publishedSize + ` /dev/zero >"$0/big"`
	if out, err := exec.Command("sh", "-c", script, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("write a file of %s bytes: %w: %s", publishedSize, err, out)
	}
	if _, err := b.daemon("served", []string{"busybox", "httpd", "-f", "-p", "127.0.0.1:" + floorPort, "-h", dir}, nil); err != nil {
		return err
	}
	return awaited(bed.Command{Argv: download(floorPort)}.Run)
}
