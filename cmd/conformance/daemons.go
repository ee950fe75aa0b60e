package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

// daemon starts a daemon of our own and waits until ready succeeds.
func daemon(ctx context.Context, log string, ready func() error, name string, args ...string) (stop func(), err error) {
	if os.Getuid() != 0 {
		return nil, errors.New(name + " is run as root here")
	}
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}
	for range 150 {
		if err = ready(); err == nil {
			return stop, nil
		}
		select {
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	stop()
	text, _ := os.ReadFile(log)
	return nil, fmt.Errorf("%s does not answer: %s", name, lastLines(string(text), 2))
}

func readContainerd(ctx context.Context, a archives) (string, corpus.Tree, error) {
	sock := a.dir + "/sock"
	ctr := func(args ...string) (string, error) {
		return output(ctx, "ctr", append([]string{"--address", sock}, args...)...)
	}
	config := a.dir + "/config.toml"
	text := fmt.Sprintf("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\nroot = %q\nstate = %q\n[grpc]\n  address = %q\n", a.dir+"/root", a.dir+"/state", sock)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return "", nil, err
	}
	stop, err := daemon(ctx, a.dir+"/log", func() error { _, err := ctr("version"); return err }, "containerd", "--config", config)
	if err != nil {
		return "", nil, err
	}
	defer stop()
	for _, file := range []string{a.oci, a.docker} {
		if _, err := ctr("images", "import", "--base-name", "example.org/shipped", file); err != nil {
			return "", nil, err
		}
	}
	root := a.dir + "/mounted"
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", nil, err
	}
	if _, err := ctr("images", "mount", "example.org/shipped:1", root); err != nil {
		return "", nil, err
	}
	defer ctr("images", "unmount", root)
	if _, err := output(ctx, "tar", "--numeric-owner", "-C", root, "-cf", a.dir+"/rootfs.tar", "."); err != nil {
		return "", nil, err
	}
	tree, err := corpus.TarTree(a.dir + "/rootfs.tar")
	return "", tree, err
}

func readDocker(ctx context.Context, a archives) (string, corpus.Tree, error) {
	host := "unix://" + a.dir + "/sock"
	docker := func(args ...string) (string, error) {
		return output(ctx, "docker", append([]string{"-H", host}, args...)...)
	}
	stop, err := daemon(ctx, a.dir+"/log", func() error { _, err := docker("version"); return err }, "dockerd", "-H", host,
		"--data-root", a.dir+"/root", "--exec-root", a.dir+"/run", "--pidfile", a.dir+"/pid", "--iptables=false", "--ip6tables=false", "--bridge=none")
	if err != nil {
		return "", nil, err
	}
	defer stop()
	if _, err := docker("load", "-q", "-i", a.docker); err != nil { // it reads OCI layouts since 25 only
		return "", nil, err
	}
	id, err := docker("image", "inspect", "--format", "{{.Id}}", "example.org/shipped:1")
	if err != nil {
		return "", nil, err
	}
	container, err := docker("create", "example.org/shipped:1", "true")
	if err != nil {
		return "", nil, err
	}
	if _, err := docker("export", "-o", a.dir+"/rootfs.tar", strings.TrimSpace(container)); err != nil {
		return "", nil, err
	}
	tree, err := corpus.TarTree(a.dir + "/rootfs.tar")
	return id, tree, err
}
