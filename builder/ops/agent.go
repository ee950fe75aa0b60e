//go:build linux

package ops

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/hodbuild/hod/layers/rootfs"
	"golang.org/x/sys/unix"
)

// ssh shows a socket that leads to an agent. The agent's own socket, where it has one, stays outside.
func (m *mounter) ssh(ctx context.Context, one Mount) error {
	agent := m.t.SSH[one.ID]
	if agent == nil && one.Required {
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
	if agent == nil {
		return nil
	}
	dir, err := os.MkdirTemp(m.o.Tmp, "agent-")
	if err != nil {
		return err
	}
	m.closers = append(m.closers, func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "agent")
	done, err := agent.Relay(ctx, socket)
	if err != nil {
		return err
	}
	m.closers = append(m.closers, done)
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
	fd, err := rootfs.Subtree(tree, "/agent")
	if err != nil {
		return err
	}
	m.attach(target, fd, false)
	return nil
}
