package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hodbuild/hod/cmd/bench/bed"
)

// docker is Docker's classic builder and its daemons, started with folders of
// their own.
func (b *bench) docker(place string) *peer {
	at, name := filepath.Join(place, "docker"), "docker-"+filepath.Base(place)
	socket, state := "unix://"+filepath.Join(b.bed.Memory, name+".sock"), filepath.Join(b.bed.Memory, name)
	containerd := state + "-containerd.sock"
	client := "/usr/bin/docker"
	var pids []int
	d := func(words ...string) []string { return append([]string{client}, words...) }
	p := &peer{
		name: "docker", needs: []string{client, "dockerd", "containerd", "runc"}, version: d("--version"),
		about: "classic builder, overlay2, daemons running", env: []string{"DOCKER_HOST=" + socket, "DOCKER_BUILDKIT=0", "HOME=" + b.bed.Memory},
		daemons: func() []int { return pids },
		verbs: map[string]verb{
			"build": one(func(j job) []string { return d("build", "-q", "--network=none", "-t", j.image, j.context) }),
			"build and push": func(j job) [][]string {
				return [][]string{d("build", "-q", "--network=none", "-t", j.image, j.context), d("push", "-q", j.image)}
			},
			"build to archive": func(j job) [][]string {
				return [][]string{d("build", "-q", "--network=none", "-t", j.image, j.context), d("save", "-o", j.file, j.image)}
			},
			"save":         one(func(j job) []string { return d("save", "-o", j.file, j.image) }),
			"load archive": one(func(j job) []string { return d("load", "-q", "-i", j.archive) }),
			"files":        filesOf(at + "/overlay2/*/diff"),
			"pull":         one(func(j job) []string { return d("pull", "-q", j.image) }),
			"tag":          one(func(j job) []string { return d("tag", j.image, j.to) }),
			"push":         one(func(j job) []string { return d("push", "-q", j.to) }),
			"run":          one(func(j job) []string { return d("run", "--rm", "--network=none", j.image, "true") }),
			"run private":  one(func(j job) []string { return d("run", "--rm", j.image, "true") }),
			"show":         one(func(j job) []string { return d("run", "--rm", "--network=none", j.image, "sh", "-c", showScript) }),
			"start": one(func(j job) []string {
				return d("run", "-d", "--network=none", "--name=bench", j.image, "sleep", "1000")
			}),
			"publish": one(func(j job) []string {
				return d("run", "-d", "--name=bench", "-p", "127.0.0.1:"+j.port+":8080", j.image, "sh", "-c", serveScript)
			}),
			"exec": one(func(j job) []string { return d("exec", "bench", "true") }),
			"stop": one(func(j job) []string { return d("rm", "-f", "bench") }),
		},
	}
	p.start = func() error {
		c, err := b.daemon(name+"-containerd", []string{"containerd", "--root", at + "-containerd", "--state", state + "-containerd", "--address", containerd}, nil)
		if err != nil {
			return err
		}
		if err := awaited(exists(containerd)); err != nil {
			return err
		}
		e, err := b.daemon(name, []string{"dockerd", "--containerd", containerd, "--data-root", at, "--exec-root", state, "--host", socket,
			"--pidfile", state + ".pid", "--storage-driver", "overlay2", "--cgroup-parent", "/" + bed.Group}, nil)
		if err != nil {
			return err
		}
		pids = []int{c.Pid, e.Pid}
		return awaited(bed.Command{Argv: d("version"), Env: p.env}.Run)
	}
	p.fresh = func() error {
		script := `docker ps -aq | xargs -r docker rm -f; docker images -aq | sort -u | xargs -r docker rmi -f; docker system prune -af`
		out, err := shell(strings.ReplaceAll(script, "docker ", client+" "), p.env)
		if err != nil {
			return fmt.Errorf("empty docker: %w: %s", err, out)
		}
		return nil
	}
	return p
}

// buildkit is buildkitd with buildctl; its worker runs steps by runc.
func (b *bench) buildkit() *peer {
	root := filepath.Join(b.bed.Disk, "buildkit")
	address := "unix://" + filepath.Join(b.bed.Memory, "buildkit.sock")
	var process *os.Process
	build := func(j job, output string) []string {
		return []string{"buildctl", "--addr", address, "build", "--progress=plain", "--frontend", "dockerfile.v0",
			"--local", "context=" + j.context, "--local", "dockerfile=" + j.context, "--opt", "force-network-mode=none", "--output", output}
	}
	p := &peer{
		name: "buildkit", needs: []string{"buildkitd", "buildctl", "runc"}, version: []string{"buildkitd", "--version"},
		about: "buildkitd with the OCI worker and runc, daemon running", env: []string{"HOME=" + b.bed.Memory},
		verbs: map[string]verb{
			"build":            one(func(j job) []string { return build(j, "type=image,name="+j.image) }),
			"build and push":   one(func(j job) []string { return build(j, "type=image,push=true,name="+j.image) }),
			"build to archive": one(func(j job) []string { return build(j, "type=oci,dest="+j.file) }),
			"save":             one(func(j job) []string { return build(j, "type=oci,dest="+j.file) }),
		},
	}
	p.daemons = func() []int {
		if process == nil {
			return nil
		}
		return []int{process.Pid}
	}
	config := filepath.Join(b.bed.Memory, "buildkitd.toml")
	start := func() (err error) {
		process, err = b.daemon("buildkitd", []string{"buildkitd", "--root", root, "--addr", address, "--config", config}, nil)
		if err != nil {
			return err
		}
		return awaited(bed.Command{Argv: []string{"buildctl", "--addr", address, "debug", "workers"}}.Run)
	}
	p.start = func() error {
		text := fmt.Sprintf("[worker.oci]\ndefaultCgroupParent = %q\ngc = false\n", "/"+bed.Group)
		for _, r := range b.registries() {
			text += fmt.Sprintf("[registry.%q]\nhttp = true\n", r.host)
		}
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return err
		}
		return start()
	}
	// A pruned store keeps blobs until its collector comes by: begin anew.
	p.fresh = func() error {
		_ = process.Signal(syscall.SIGTERM)
		if err := awaited(gone(process)); err != nil {
			return err
		}
		if err := freshFolder(root)(); err != nil {
			return err
		}
		return start()
	}
	return p
}

// gone is nil when the process has ended.
func gone(p *os.Process) func() error {
	return func() error {
		if p.Signal(syscall.Signal(0)) != nil {
			return nil
		}
		return errors.New("does not end")
	}
}

func exists(path string) func() error {
	return func() error {
		_, err := os.Stat(path)
		return err
	}
}

// shell runs a script that is not measured.
func shell(script string, env []string) (string, error) {
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
