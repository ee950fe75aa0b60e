package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// modules are a shell and the tools that the recipe needs, for machines that
// have Go and nothing else.
var modules = []string{
	"mvdan.cc/sh/v3/cmd/gosh@v3.12.0",
	"github.com/u-root/u-root/cmds/core/cat@v0.15.0",
	"github.com/u-root/u-root/cmds/core/wc@v0.15.0",
}

// makeBase makes the image that the recipe begins with, and says of what.
func (s *stage) makeBase() error {
	root := filepath.Join(s.dir, "base")
	bin := filepath.Join(root, "bin")
	for _, d := range []string{bin, filepath.Join(root, "tmp"), filepath.Join(root, "proc"), filepath.Join(root, "dev"), filepath.Join(root, "sys")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err == nil && s.base != "go" {
		fmt.Println("# No registry is asked: the base image is made of this machine's busybox.")
		err = linkTools(bin, busybox)
	} else {
		fmt.Println("# No registry is asked, and busybox is not used: the base image is made of")
		fmt.Printf("# Go modules: %s\n", strings.Join(modules, ", "))
		err = s.installTools(bin)
	}
	if err != nil {
		return err
	}
	pack := exec.CommandContext(s.ctx, "tar", "--owner=0", "--group=0", "-C", root, "-cf", filepath.Join(s.dir, "base.tar"), ".")
	if out, err := pack.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	return s.run("hod --root one import base.tar base")
}

func linkTools(bin string, busybox []byte) error {
	if err := os.WriteFile(filepath.Join(bin, "busybox"), busybox, 0o755); err != nil {
		return err
	}
	for _, tool := range []string{"sh", "cat", "wc", "test"} {
		if err := os.Symlink("busybox", filepath.Join(bin, tool)); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) installTools(bin string) error {
	for _, m := range modules { // "go install" takes packages of one module at a time
		cmd := exec.CommandContext(s.ctx, "go", "install", "-trimpath", "-ldflags=-s -w", m)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+bin, "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go install %s: %w: %s", m, err, out)
		}
	}
	return os.Symlink("gosh", filepath.Join(bin, "sh"))
}

// peak is the most memory that a process held, in bytes.
func peak(p *os.ProcessState) int64 {
	if u, ok := p.SysUsage().(*syscall.Rusage); ok {
		return u.Maxrss << 10
	}
	return 0
}

// removeAll removes a store too, whose folders may forbid it.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
