package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Partial is a file that is not whole yet and survives its process: a transfer's
// journal. One process holds it at a time. Its bytes are believed by nobody until
// Commit has hashed them.
type Partial struct {
	s    *Store
	dir  string
	lock *lockfile.Lock
	f    *os.File
}

// Partial opens the partial file of a key, making an empty one where there is
// none. ErrBusy says that another process has it open.
func (s *Store) Partial(key string) (*Partial, error) {
	p := &Partial{s: s, dir: s.path("partial", digest.Canonical.FromString(key).Encoded())}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("open partial file of %q: %w", key, err)
	}
	return p, nil
}

func (p *Partial) open() error {
	if p.s.o.ReadOnly {
		return fmt.Errorf("the store was opened to read")
	}
	return p.s.briefly(context.Background(), func() error {
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return err
		}
		var err error
		if p.lock, err = lockfile.Open(filepath.Join(p.dir, "lock")); err != nil {
			return err
		}
		if err = p.lock.TryExclusive(); err == nil {
			p.f, err = os.OpenFile(filepath.Join(p.dir, "data"), os.O_RDWR|os.O_CREATE, 0o600)
		}
		if err != nil {
			p.lock.Close()
		}
		if errors.Is(err, lockfile.ErrHeld) {
			return ErrBusy
		}
		return err
	})
}

// File is the file itself, to be read and written at any offset.
func (p *Partial) File() *os.File { return p.f }

// State is what SetState wrote last, nil when nothing.
func (p *Partial) State() ([]byte, error) {
	b, err := readRecord(filepath.Join(p.dir, "state"))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return b, err
}

// SetState replaces the state, atomically. It is not synced: after a power cut
// the state may tell of bytes that are not there.
func (p *Partial) SetState(b []byte) error {
	return lockfile.AtomicWrite(filepath.Join(p.dir, "state"), b, 0o600, false)
}

// Commit hashes the whole file, publishes it as the blob that desc promises, and
// removes the journal. What is not that blob stays as it is, with an error.
func (p *Partial) Commit(ctx context.Context, desc ocispec.Descriptor, durable bool) error {
	if err := p.commit(ctx, desc, durable); err != nil {
		return fmt.Errorf("commit blob %s: %w", desc.Digest, err)
	}
	return p.Remove()
}

func (p *Partial) commit(ctx context.Context, desc ocispec.Descriptor, durable bool) error {
	if err := CheckDescriptor(desc); err != nil {
		return err
	}
	if err := p.s.hold(desc.Digest); err != nil {
		return err
	}
	h := desc.Digest.Algorithm().Hash()
	n, err := copyContext(ctx, h, io.NewSectionReader(p.f, 0, 1<<62))
	if err != nil {
		return err
	}
	if n != desc.Size {
		return fmt.Errorf("content has %d bytes, want %d", n, desc.Size)
	}
	if got := digest.NewDigest(desc.Digest.Algorithm(), h); got != desc.Digest {
		return &DigestError{Want: desc.Digest, Got: got}
	}
	return p.publish(desc.Digest, durable)
}

// publish moves verified bytes into place. Who else could change them meanwhile
// would hold our lock.
func (p *Partial) publish(d digest.Digest, durable bool) error {
	if durable {
		if err := p.f.Sync(); err != nil {
			return err
		}
	}
	if kept := p.s.kept("blobs", d); p.s.has(kept) {
		if durable { // who put it there may not have come to that yet
			return lockfile.SyncDir(filepath.Dir(kept))
		}
		return nil
	}
	return p.s.publish(filepath.Join(p.dir, "data"), "blobs", d, durable)
}

// Close lets others have the partial file; it stays.
func (p *Partial) Close() error {
	if p.f == nil {
		return nil
	}
	err := p.f.Close()
	if lerr := p.lock.Close(); err == nil {
		err = lerr
	}
	p.f = nil
	return err
}

// Remove deletes the partial file and lets go of it. After Close it does nothing.
func (p *Partial) Remove() error {
	if p.f == nil {
		return nil
	}
	err := p.s.throw(p.dir)
	if cerr := p.Close(); err == nil {
		err = cerr
	}
	return err
}
