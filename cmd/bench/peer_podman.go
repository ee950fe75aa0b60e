package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/cmd/bench/bed"
)

// buildah builds with a cache of layers and four stages at a time.
func (b *bench) buildah() *peer {
	// It keeps cache mounts among temporary files.
	root, tmp := filepath.Join(b.bed.Disk, "buildah"), filepath.Join(b.bed.Disk, "buildah-tmp")
	c := containers("buildah", root)
	build := func(j job) []string {
		return c("bud", "-q", "--layers", "--jobs=4", "--network=none", "--tls-verify=false", "-t", j.image, j.context)
	}
	return &peer{
		name: "buildah", needs: []string{"buildah", "crun"}, version: []string{"buildah", "--version"},
		about: "with --layers --jobs=4, crun", env: append(b.podmanEnv(), "TMPDIR="+tmp),
		start: func() error { return errors.Join(b.podmanConfig(), os.MkdirAll(tmp, 0o755)) },
		fresh: func() error { return errors.Join(freshFolder(root)(), freshFolder(tmp)()) },
		verbs: map[string]verb{
			"build": one(build),
			"build and push": func(j job) [][]string {
				return [][]string{build(j), c("push", "-q", "--tls-verify=false", j.image)}
			},
			"build to archive": func(j job) [][]string {
				return [][]string{build(j), c("push", "-q", j.image, "oci-archive:"+j.file)}
			},
			"save": one(func(j job) []string { return c("push", "-q", j.image, "oci-archive:"+j.file) }),
		},
	}
}

func (b *bench) podman(place string) *peer {
	root := filepath.Join(place, "podman")
	c := containers("podman", root)
	run := func(words ...string) []string {
		return c(append([]string{"run", "--cgroup-parent=/" + bed.Group, "--tls-verify=false", "-q"}, words...)...)
	}
	return &peer{
		name: "podman", needs: []string{"podman", "crun", "conmon"}, version: []string{"podman", "--version"},
		about: "overlay, crun", env: b.podmanEnv(), fresh: freshFolder(root), start: b.podmanConfig,
		verbs: map[string]verb{
			"save":         one(func(j job) []string { return c("save", "-q", "-o", j.file, j.image) }),
			"load archive": one(func(j job) []string { return c("load", "-q", "-i", j.archive) }),
			"files":        filesOf(root + "/overlay/*/diff"),
			"pull":         one(func(j job) []string { return c("pull", "-q", "--tls-verify=false", j.image) }),
			"tag":          one(func(j job) []string { return c("tag", j.image, j.to) }),
			"push":         one(func(j job) []string { return c("push", "-q", "--tls-verify=false", j.to) }),
			"run":          one(func(j job) []string { return run("--rm", "--network=none", j.image, "true") }),
			"run private":  one(func(j job) []string { return run("--rm", j.image, "true") }),
			"show":         one(func(j job) []string { return run("--rm", "--network=none", j.image, "sh", "-c", showScript) }),
			"start":        one(func(j job) []string { return run("-d", "--network=none", "--name=bench", j.image, "sleep", "1000") }),
			"publish": one(func(j job) []string {
				return run("-d", "--name=bench", "-p", "127.0.0.1:"+j.port+":8080", j.image, "sh", "-c", serveScript)
			}),
			"exec": one(func(j job) []string { return c("exec", "bench", "true") }),
			"stop": one(func(j job) []string { return c("rm", "-f", "-t", "0", "bench") }),
		},
	}
}

// containers gives the words that begin each call of buildah and podman.
func containers(tool, root string) func(words ...string) []string {
	return func(words ...string) []string {
		return append([]string{tool, "--root", root, "--runroot", root + "/run", "--storage-driver=overlay"}, words...)
	}
}

func (b *bench) podmanEnv() []string {
	return []string{"CONTAINERS_CONF=" + filepath.Join(b.bed.Memory, "containers.conf"), "HOME=" + b.bed.Memory}
}

// podmanConfig keeps podman from raising limits, which not every root may.
func (b *bench) podmanConfig() error {
	text := "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n[engine]\nruntime = \"crun\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n"
	return os.WriteFile(filepath.Join(b.bed.Memory, "containers.conf"), []byte(text), 0o644)
}
