// Package lockfile gives locks between processes and files that appear whole.
//
// A [Lock] is a flock(2) on an open file description: the kernel gives it back
// when the process dies, however it dies, so there is nothing to clean up and no
// process id to mistake for another. Readers share it, one writer excludes them:
//
//	l, err := lockfile.Open("/store/lock")
//	if err != nil { … }
//	defer l.Close()
//	if err := l.Exclusive(ctx); err != nil { … }
//	defer l.Unlock()
//
// [AtomicWrite] writes aside and renames, so a reader sees the old bytes or the
// new ones and never a part; with sync, what it wrote also outlives a power cut.
// [Replace] does so for a file that a user named, which may be a device.
package lockfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld says that another open file description holds the lock.
var ErrHeld = errors.New("lock is held")

// Lock is one open description of a lock file. It is held at most once at a
// time; asking again converts shared to exclusive or back, which is not atomic.
type Lock struct{ f *os.File }

// Open opens the lock file, creating it with mode 0600 where it is missing.
// The file is never deleted by this package: a deleted lock file is two locks.
func Open(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return &Lock{f}, nil
}

// FromFile makes a lock of a file that is open already; Close closes it.
func FromFile(f *os.File) *Lock { return &Lock{f} }

// File is the locked file.
func (l *Lock) File() *os.File { return l.f }

// Shared waits until no other description holds the lock exclusively.
func (l *Lock) Shared(ctx context.Context) error { return l.wait(ctx, unix.LOCK_SH) }

// Exclusive waits until no other description holds the lock.
func (l *Lock) Exclusive(ctx context.Context) error { return l.wait(ctx, unix.LOCK_EX) }

// TryShared is Shared without waiting; it returns [ErrHeld].
func (l *Lock) TryShared() error { return l.flock(unix.LOCK_SH | unix.LOCK_NB) }

// TryExclusive is Exclusive without waiting; it returns [ErrHeld].
func (l *Lock) TryExclusive() error { return l.flock(unix.LOCK_EX | unix.LOCK_NB) }

// Unlock gives the lock back.
func (l *Lock) Unlock() error { return l.flock(unix.LOCK_UN) }

// Close gives the lock back and closes the file.
func (l *Lock) Close() error { return l.f.Close() }

// wait polls, because a blocked flock cannot be cancelled by a context. Locks
// here are held for moments, so the first tries come fast.
func (l *Lock) wait(ctx context.Context, how int) error {
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		err := l.flock(how | unix.LOCK_NB)
		if !errors.Is(err, ErrHeld) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for lock %q: %w", l.f.Name(), ctx.Err())
		case <-time.After(pause):
		}
	}
}

func (l *Lock) flock(how int) error {
	for {
		err := unix.Flock(int(l.f.Fd()), how)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
			return fmt.Errorf("lock %q: %w", l.f.Name(), ErrHeld)
		}
		return fmt.Errorf("lock %q: %w", l.f.Name(), err)
	}
}
