package layers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Lease is a claim on objects. It is a file that its owner keeps locked: the
// kernel ends it with the process. Each line is a boot-clock second and a digest.
//
// A lease must hold a digest before its owner looks whether the object exists.
// Hold takes the store's lock shared and collection renames under the exclusive
// lock after reading the leases, so whoever held first and looked then sees an
// object that stays.
type Lease struct {
	s    *Store
	id   string
	lock *lockfile.Lock

	mu   sync.Mutex // guards held
	held map[digest.Digest]int64
}

// Lease makes a claim of its own, apart from that of the store. What it is for
// goes into the file, for hod why.
func (s *Store) Lease(ctx context.Context, what string) (*Lease, error) {
	l := &Lease{s: s, id: lockfile.Random(), held: map[digest.Digest]int64{}}
	err := s.briefly(ctx, func() error {
		var err error
		if l.lock, err = lockfile.Open(s.path("leases", l.id)); err != nil {
			return err
		}
		if err = l.lock.TryExclusive(); err != nil {
			return err
		}
		what = strings.Map(printable, what)
		_, err = fmt.Fprintf(l.lock.File(), "# %d %d %s\n", os.Getpid(), int(s.o.HoldFor.Seconds()), what)
		return err
	})
	if err != nil {
		if l.lock != nil {
			_ = os.Remove(s.path("leases", l.id)) // else collection finds it
			l.lock.Close()
		}
		return nil, fmt.Errorf("make lease: %w", err)
	}
	return l, nil
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// briefly runs fn under the store's lock, shared.
func (s *Store) briefly(ctx context.Context, fn func() error) error {
	lock, err := lockfile.Open(s.path("lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := lock.Shared(ctx); err != nil {
		return err
	}
	return fn()
}

// Hold claims objects by digest: blobs, layers (diffIDs) and images (config
// digests) alike. It does not say whether they exist.
func (l *Lease) Hold(ds ...digest.Digest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := bootSeconds()
	forever, stale := l.s.o.HoldFor == 0, int64(l.s.o.HoldFor.Seconds())/2
	var add bytes.Buffer
	for _, d := range ds {
		at, held := l.held[d]
		if held && (forever || now-at < stale) {
			continue
		}
		fmt.Fprintf(&add, "%d %s\n", now, d)
		l.held[d] = now
	}
	if add.Len() == 0 {
		return nil
	}
	err := l.s.briefly(context.Background(), func() error {
		if l.lock == nil {
			return os.ErrClosed
		}
		return l.write(add.Bytes(), now)
	})
	if err != nil {
		for _, d := range ds {
			delete(l.held, d)
		}
		return fmt.Errorf("hold objects: %w", err)
	}
	return nil
}

// maxLease is the size at which the claims of a long-lived process are sifted.
const maxLease = 1 << 20

// sifted is for how much longer a claim is written down: a collection that runs counts
// the claims that were good when it began.
const sifted = time.Minute

// write appends to the lease; when it has grown large it is written anew with
// what still counts. The caller holds l.mu and the store's lock.
func (l *Lease) write(add []byte, now int64) error {
	f := l.lock.File()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if l.s.o.HoldFor > 0 && st.Size() > maxLease {
		var all bytes.Buffer
		fmt.Fprintf(&all, "# %d %d\n", os.Getpid(), int(l.s.o.HoldFor.Seconds()))
		for d, at := range l.held {
			if now-at > int64((l.s.o.HoldFor + sifted).Seconds()) {
				delete(l.held, d)
				continue
			}
			fmt.Fprintf(&all, "%d %s\n", at, d)
		}
		add = all.Bytes()
		if err := f.Truncate(0); err != nil {
			return err
		}
		if _, err := f.Seek(0, 0); err != nil {
			return err
		}
	}
	_, err = f.Write(add)
	return err
}

// Close ends the claim. While a collection runs the file stays, unlocked, for
// the collection to remove: it may have begun to mark before we published what
// we held.
func (l *Lease) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lock == nil {
		return nil
	}
	err := l.s.briefly(context.Background(), func() error {
		collecting, err := lockfile.Open(l.s.path("leases", collectorLock))
		if err != nil {
			return err
		}
		defer collecting.Close()
		if err := collecting.TryShared(); err != nil {
			if errors.Is(err, lockfile.ErrHeld) {
				return nil
			}
			return err
		}
		return os.Remove(l.s.path("leases", l.id))
	})
	if cerr := l.lock.Close(); err == nil {
		err = cerr
	}
	l.lock = nil
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("end lease: %w", err)
	}
	return nil
}

// collectorLock, in the leases folder, is held by the one running collection.
const collectorLock = ".collecting"

// ownLease is the lease of this Store, under which all that it writes lies.
func (s *Store) ownLease() (*Lease, error) {
	if s.o.ReadOnly {
		return nil, fmt.Errorf("write to store %q: it was opened to read", s.root)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease == nil {
		l, err := s.Lease(context.Background(), strings.Join(os.Args[:min(len(os.Args), 2)], " "))
		if err != nil {
			return nil, err
		}
		s.lease = l
	}
	return s.lease, nil
}

// hold claims objects for as long as this Store is open. Every operation that
// looks an object up or makes one calls it, so callers need no lease of their own.
func (s *Store) hold(ds ...digest.Digest) error {
	if s.o.ReadOnly || s.holdsAll() {
		return nil
	}
	l, err := s.ownLease()
	if err == nil {
		err = l.Hold(ds...)
	}
	switch {
	case errors.Is(err, unix.EROFS):
		return nil // nobody can collect there either
	case s.spared(err):
		return s.holdAll()
	}
	return err
}

func (s *Store) holdsAll() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all != nil
}

// holdAll keeps everything until this Store is closed, without a byte to write: no collection gets the lock.
func (s *Store) holdAll() error {
	lock, err := lockfile.Open(s.path("lock"))
	if err != nil {
		return err
	}
	if err := lock.Shared(context.Background()); err != nil {
		lock.Close()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all != nil { // another goroutine was first
		return lock.Close()
	}
	s.all = lock
	return nil
}
