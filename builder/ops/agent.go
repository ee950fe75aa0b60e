//go:build linux

package ops

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// ssh shows a socket that leads to an agent of the user. The agent's own socket stays outside.
func (m *mounter) ssh(ctx context.Context, one Mount) error {
	var agent string
	found := false
	if m.t.SSH != nil {
		agent, found = m.t.SSH(one.ID)
	}
	if !found && one.Required {
		return fmt.Errorf("ssh agent %q is required: give it with --ssh %s", one.ID, one.ID)
	}
	target := one.Target
	if target == "" {
		target = "/run/buildkit/ssh_agent." + strconv.Itoa(m.agents)
	}
	if m.agents == 0 { // the first, whether or not it is there, as with BuildKit
		m.env = append(m.env, "SSH_AUTH_SOCK="+target)
	}
	m.agents++
	if !found {
		return nil
	}
	dir, err := os.MkdirTemp(m.o.Tmp, "agent-")
	if err != nil {
		return err
	}
	m.closers = append(m.closers, func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "agent")
	if err := m.relay(ctx, socket, agent); err != nil {
		return err
	}
	uid, gid := m.ids.Owner(deref(one.UID, 0), deref(one.GID, 0))
	if err := os.Lchown(socket, uid, gid); err != nil {
		return err
	}
	if err := unix.Chmod(socket, deref(one.Mode, 0o600)&0o7777); err != nil {
		return err
	}
	tree, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer tree.Close()
	fd, err := subtree(tree, "/agent")
	if err != nil {
		return err
	}
	m.attach(target, fd, false)
	return nil
}

// relay joins each connection to a socket with one to the agent, until the mounts are given up.
func (m *mounter) relay(ctx context.Context, socket, agent string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { join(ctx, c, agent) })
		}
	})
	m.closers = append(m.closers, func() { cancel(); l.Close(); all.Wait() })
	return nil
}

func join(ctx context.Context, c net.Conn, agent string) {
	defer c.Close()
	a, err := (&net.Dialer{}).DialContext(ctx, "unix", agent)
	if err != nil {
		return
	}
	defer a.Close()
	stop := context.AfterFunc(ctx, func() { c.Close(); a.Close() })
	defer stop()
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		io.Copy(to, from)
		to.(*net.UnixConn).CloseWrite()
	}
	both.Go(func() { pass(a, c) })
	both.Go(func() { pass(c, a) })
	both.Wait()
}
