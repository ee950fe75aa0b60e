package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"time"
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
