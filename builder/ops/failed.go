package ops

import (
	"context"
	"errors"
	"io"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"golang.org/x/sys/unix"
)

// FailedState is the file system that a failed command left, with all that the command had.
type FailedState struct {
	run   Run
	tools Tools
	snap  *layers.Snapshot
	ids   *runner.IDs
	o     Options
	kept  bool
}

// Session is where another command in a failed state reads and writes.
type Session struct {
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
}

// Run runs another command there: with the failed one's mounts, environment, user and folder. What it writes stays for
// the next one.
func (f *FailedState) Run(ctx context.Context, s Session) (runner.Exit, error) {
	if err := f.snap.Again(ctx); err != nil {
		return runner.Exit{}, err
	}
	r := f.run
	r.Args, r.Stdin, r.Stdout, r.Stderr, r.TTY, r.NewCache = s.Args, s.Stdin, s.Stdout, s.Stderr, s.TTY, nil
	return r.execute(ctx, f.tools, f.snap, f.ids, f.o)
}

// Close removes the state.
func (f *FailedState) Close() error { return errors.Join(f.snap.Close(), f.ids.Close()) }

func (f *FailedState) closeUnlessKept() {
	if !f.kept {
		f.Close()
	}
}

// isFull says whether the file system of a folder has no space or no inodes left.
func isFull(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	return st.Bavail*uint64(st.Bsize) < 64<<10 || st.Files > 0 && st.Ffree == 0
}
