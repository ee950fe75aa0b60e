//go:build linux

package runner

import (
	"context"
	"fmt"
	"os"

	"github.com/hodbuild/hod/layers/userns"
)

// pipes are the process's ends (child) and ours.
type pipes struct {
	child  [3]*os.File
	parent [3]*os.File
}

func (p *pipes) close() {
	for i := range 3 {
		for _, f := range []*os.File{p.child[i], p.parent[i]} {
			if f != nil {
				f.Close()
			}
		}
	}
}

// makePipes makes the streams of a container without a terminal. Their owner is
// the container's user, who may open /dev/stdout again.
func (l *launch) makePipes(context.Context) error {
	if l.o.Terminal {
		return nil
	}
	if err := l.pipes.make(l.o.Interactive); err != nil {
		return err
	}
	for _, f := range l.pipes.child {
		if f != nil && userns.Here() != userns.Single {
			if err := f.Chown(l.ids.outside(l.user.UID), l.ids.outside(l.user.GID)); err != nil {
				return fmt.Errorf("make pipes: %w", err)
			}
		}
	}
	return nil
}
