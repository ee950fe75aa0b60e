package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

// shipped is an image with all that readers trip over: several layers, a deletion, hard and symbolic links, modes.
const shipped = `FROM box
COPY d /d
COPY --chown=1:2 --chmod=4711 d/f /owned
RUN rm /d/gone && ln /d/f /d/hard && ln -s f /d/soft && mkdir -m 1770 /d/sticky
RUN rm -r /home && mkdir /home && echo new > /home/f
LABEL a=b
`

// archives are the image in the two forms that are carried around.
type archives struct {
	dir, oci, docker string
	want             *corpus.Image
}

// reader is somebody else's program that reads images. It returns the image's ID and tree, as far as it shows them.
type reader struct {
	name  string
	tools []string
	read  func(context.Context, archives) (id string, tree corpus.Tree, err error)
}

var readers = []reader{
	{"skopeo", []string{"skopeo"}, readSkopeo}, {"umoci", []string{"umoci", "skopeo"}, readUmoci},
	{"podman load", []string{"podman"}, readPodman}, {"ctr image import", []string{"containerd", "ctr"}, readContainerd},
	{"docker load", []string{"dockerd", "docker"}, readDocker},
}

// runReaders has each program read an image that hod built.
func runReaders(ctx context.Context, o options) score {
	s := score{name: "independent readers of archives"}
	a, err := ship(ctx, o)
	if err != nil {
		return s.left(err)
	}
	for _, r := range readers {
		if missing := lacking(r.tools); missing != "" {
			s.note += r.name + " left out: no " + missing + "; "
			continue
		}
		s.of++
		a.dir = filepath.Join(o.work, "reader-"+strings.ReplaceAll(r.name, " ", "-"))
		if err := a.check(ctx, r); err != nil {
			fmt.Printf("%s: %v\n", r.name, err)
			continue
		}
		s.passed++
		s.note += r.name + ", "
	}
	s.note = strings.TrimRight(s.note, ",; ")
	return s
}

func lacking(tools []string) string {
	for _, t := range tools {
		if _, err := exec.LookPath(t); err != nil {
			return t
		}
	}
	return ""
}

// ship builds the image in both forms.
func ship(ctx context.Context, o options) (archives, error) {
	a := archives{}
	r, err := openRoom(ctx, o, "readers", nil)
	if err != nil {
		return a, err
	}
	defer r.files.Close()
	for name, text := range map[string]string{"Dockerfile": shipped, "d/f": "f\n", "d/gone": "g\n", "d/e/deep": "d\n"} {
		file := filepath.Join(r.dir, "context", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			return a, err
		}
	}
	a.oci, a.docker = r.dir+"/oci.tar", r.dir+"/docker.tar"
	cmd := exec.CommandContext(ctx, o.hod, "--root", r.hod.Root, "build", "-q", "-t", "example.org/shipped:1",
		"-o", "type=oci,dest="+a.oci, "-o", "type=docker,dest="+a.docker, r.dir+"/context")
	if out, err := cmd.CombinedOutput(); err != nil {
		return a, fmt.Errorf("build what is to be read: %w: %s", err, out)
	}
	images, err := r.hod.Reader.Archive(a.oci)
	if err != nil || len(images) != 1 {
		return a, fmt.Errorf("read %s: %d images, %v", a.oci, len(images), err)
	}
	a.want = images[0]
	return a, nil
}

// check compares what a reader shows with what was built.
func (a archives) check(ctx context.Context, r reader) error {
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return err
	}
	id, tree, err := r.read(ctx, a)
	if err != nil {
		return err
	}
	if id = strings.TrimSpace(id); id != "" && strings.TrimPrefix(id, "sha256:") != strings.TrimPrefix(a.want.ID, "sha256:") {
		return fmt.Errorf("the image is %s, want %s", id, a.want.ID)
	}
	if tree == nil {
		return nil
	}
	for _, p := range []string{"dev", "proc", "sys", ".dockerenv", "dev/console", "dev/pts", "dev/shm", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"} {
		delete(tree, p)
	}
	for _, line := range tree.Since(a.want.Tree) {
		if line.Kind != corpus.Gone || !strings.Contains(" dev proc sys ", " "+line.Path+" ") {
			return fmt.Errorf("the file system differs: %s", line)
		}
	}
	return nil
}

// output runs a program and returns what it prints.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLines(stderr.String(), 3))
	}
	return string(out), nil
}

func readSkopeo(ctx context.Context, a archives) (string, corpus.Tree, error) {
	if _, err := output(ctx, "skopeo", "copy", "-q", "--insecure-policy", "docker-archive:"+a.docker, "dir:"+a.dir+"/d"); err != nil {
		return "", nil, err
	}
	raw, err := output(ctx, "skopeo", "inspect", "--config", "--raw", "oci-archive:"+a.oci)
	return digestOf(raw), nil, err
}

func readUmoci(ctx context.Context, a archives) (string, corpus.Tree, error) {
	if _, err := output(ctx, "skopeo", "copy", "-q", "--insecure-policy", "oci-archive:"+a.oci, "oci:"+a.dir+"/layout:one"); err != nil {
		return "", nil, err
	}
	if _, err := output(ctx, "umoci", "raw", "unpack", "--image", a.dir+"/layout:one", a.dir+"/rootfs"); err != nil {
		return "", nil, err
	}
	if _, err := output(ctx, "tar", "--numeric-owner", "-C", a.dir+"/rootfs", "-cf", a.dir+"/rootfs.tar", "."); err != nil {
		return "", nil, err
	}
	tree, err := corpus.TarTree(a.dir + "/rootfs.tar")
	return "", tree, err
}

func readPodman(ctx context.Context, a archives) (string, corpus.Tree, error) {
	run, err := os.MkdirTemp("", "run") // podman wants it short
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(run)
	podman := func(args ...string) (string, error) {
		return output(ctx, "podman", append([]string{"--root", a.dir + "/root", "--runroot", run, "--storage-driver", "overlay"}, args...)...)
	}
	defer podman("rmi", "-af")
	if _, err := podman("load", "-q", "-i", a.docker); err != nil {
		return "", nil, err
	}
	if _, err := podman("load", "-q", "-i", a.oci); err != nil {
		return "", nil, err
	}
	id, err := podman("image", "inspect", "--format", "{{.Id}}", "example.org/shipped:1")
	if err != nil {
		return "", nil, err
	}
	root, err := podman("image", "mount", "example.org/shipped:1")
	if err != nil {
		return "", nil, err
	}
	defer podman("image", "unmount", "example.org/shipped:1")
	if _, err := output(ctx, "tar", "--numeric-owner", "-C", strings.TrimSpace(root), "-cf", a.dir+"/rootfs.tar", "."); err != nil {
		return "", nil, err
	}
	tree, err := corpus.TarTree(a.dir + "/rootfs.tar")
	return id, tree, err
}
