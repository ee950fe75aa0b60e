package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// job is what a verb of a peer works on.
type job struct {
	context string // folder of the recipe
	image   string // HOST/NAME:1, the image that is made, pulled or run
	to      string // HOST/NAME:1, where it is pushed or copied to
	file    string // archive to write
	archive string // archive to load
	folder  string // scratch of this sample
	port    string // of 127.0.0.1, where a container's port 8080 is published
}

// verb gives the processes that do a job, in turn.
type verb func(j job) [][]string

// peer is a tool, or a chain of tools, that can do some of the jobs.
type peer struct {
	name    string
	needs   []string // programs; without one of them the peer is left out
	version []string // prints its version
	about   string   // what the report says of it
	env     []string
	packed  bool // it keeps blobs as they came and unpacks none
	verbs   map[string]verb
	// fresh gives the peer a store with nothing in it.
	fresh func() error
	// start starts its daemons, if it has any.
	start func() error
	// daemons are the processes of its daemons.
	daemons func() []int
}

// one is a verb of a single process.
func one(line func(j job) []string) verb {
	return func(j job) [][]string { return [][]string{line(j)} }
}

// missing names a program that the peer needs and that is not here.
func (p *peer) missing() string {
	for _, n := range p.needs {
		if _, err := exec.LookPath(n); err != nil {
			return n
		}
	}
	return ""
}

// versionLine is the first line that it says of itself.
func (p *peer) versionLine() string {
	if len(p.version) == 0 {
		return ""
	}
	out, err := exec.Command(p.version[0], p.version[1:]...).CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// freshFolder is fresh for a peer whose store is a folder.
func freshFolder(dir string) func() error {
	return func() error {
		unmountBelow(dir)
		if err := removeAll(dir); err != nil {
			return err
		}
		return os.MkdirAll(dir, 0o755)
	}
}

// removeAll removes a store, whose folders may forbid it to others than root. What a
// tool left running may write there for another moment.
func removeAll(dir string) (err error) {
	for range 5 {
		if err = exec.Command("rm", "-rf", dir).Run(); err == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return fmt.Errorf("remove %s: %w", dir, err)
}

// unmountBelow takes away mounts that a tool left in its store.
func unmountBelow(dir string) {
	b, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(b), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			_ = exec.Command("umount", "-l", f[1]).Run()
		}
	}
}

// peers is every peer, hod first.
func (b *bench) peers() []*peer {
	disk, memory := b.bed.Disk, b.bed.Memory
	return []*peer{
		b.hodPeer(disk), b.buildkit(), b.docker(disk), b.buildah(), b.podman(disk),
		b.skopeo(), b.crane(), b.umoci(), b.umociChain(disk), b.runtime("crun"), b.runtime("runc"), b.dockerRegistry(),
		inMemory(b.hodPeer(memory)), inMemory(b.docker(memory)), inMemory(b.podman(memory)), inMemory(b.umociChain(memory)),
	}
}

func (b *bench) hodPeer(place string) *peer {
	root := filepath.Join(place, "hod")
	h := func(words ...string) []string { return append([]string{b.hod}, words...) }
	start := b.startHodLoad
	if place != b.bed.Disk {
		start = nil
	}
	return &peer{
		name: "hod", needs: []string{b.hod}, version: h("version"),
		env: []string{"HOD_ROOT=" + root}, fresh: freshFolder(root), start: start,
		verbs: map[string]verb{
			"build": one(func(j job) []string { return h("build", "-q", "--network=none", "-t", j.image, j.context) }),
			"build and push": one(func(j job) []string {
				return h("build", "-q", "--network=none", "--push", "-t", j.image, j.context)
			}),
			"build to archive": one(func(j job) []string {
				return h("build", "-q", "--network=none", "-o", "type=oci,dest="+j.file, "-t", j.image, j.context)
			}),
			"save":         one(func(j job) []string { return h("save", "-o", j.file, j.image) }),
			"load archive": one(func(j job) []string { return h("load", "-q", "-i", j.archive) }),
			"files":        filesOf(root + "/boot/*/trees/*/*/fs"),
			"pull":         one(func(j job) []string { return h("pull", "-q", j.image) }),
			"fetch":        one(func(j job) []string { return h("copy", "-q", j.image, "oci:"+j.file) }),
			"load":         one(func(j job) []string { return loadLine(hodLoad) }),
			"tag":          one(func(j job) []string { return h("tag", j.image, j.to) }),
			"push":         one(func(j job) []string { return h("push", "-q", j.to) }),
			"copy":         one(func(j job) []string { return h("copy", "-q", j.image, j.to) }),
			"run":          one(func(j job) []string { return h("run", "--rm", "--network=none", j.image, "true") }),
			"run private":  one(func(j job) []string { return h("run", "--rm", j.image, "true") }),
			"show":         one(func(j job) []string { return h("run", "--rm", "--network=none", j.image, "sh", "-c", showScript) }),
			"start": one(func(j job) []string {
				return h("run", "-d", "--network=none", "--name=bench", j.image, "sleep", "1000")
			}),
			"publish": one(func(j job) []string {
				return h("run", "-d", "--name=bench", "-p", "127.0.0.1:"+j.port+":8080", j.image, "sh", "-c", serveScript)
			}),
			"exec": one(func(j job) []string { return h("exec", "bench", "true") }),
			"stop": one(func(j job) []string { return h("rm", "-f", "bench") }),
		},
	}
}

// showScript fails unless it is alone in namespaces of its own.
const showScript = `test $$ = 1 && test "$(ls /sys/class/net | tr -d '\n')" = lo && test -f /etc/passwd`
