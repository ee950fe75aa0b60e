package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"time"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

// registry is a hod serve of our own.
type registry struct {
	addr string
	cmd  *exec.Cmd
}

func startRegistry(ctx context.Context, hod, root string) (*registry, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	r := &registry{addr: addr, cmd: exec.Command(hod, "--root", root, "serve", "--addr", addr)}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start hod serve: %w", err)
	}
	for range 100 {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			return r, c.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.stop()
	return nil, fmt.Errorf("hod serve does not answer at %s", addr)
}

// push brings a base of the store to the registry, under the path that Docker Hub's images have.
func (r *registry) push(ctx context.Context, h *corpus.Hod, b corpus.Base) error {
	remote := r.addr + "/library/" + b.Name + ":latest"
	for _, args := range [][]string{{"tag", b.Name, remote}, {"push", remote}, {"rmi", remote}} {
		cmd := exec.CommandContext(ctx, h.Binary, append([]string{"--root", h.Root}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("hod %v: %w: %s", args, err, out)
		}
	}
	return nil
}

func (r *registry) stop() {
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
