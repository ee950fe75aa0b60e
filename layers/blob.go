package layers

import (
	"context"
	_ "crypto/sha256" // for digests of either kind
	_ "crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// MaxManifest bounds manifests, indexes and configs, as registries do.
const MaxManifest = 4 << 20

// StatBlob gives the size of a blob, or ErrNotFound. The blob is then held until
// the store is closed.
func (s *Store) StatBlob(d digest.Digest) (int64, error) {
	if err := s.hold(d); err != nil {
		return 0, fmt.Errorf("stat blob %s: %w", d, err)
	}
	_, st, err := s.find("blobs", d)
	if err != nil {
		return 0, fmt.Errorf("stat blob %s: %w", d, err)
	}
	return st.Size, nil
}

// Blob is an open blob. Its bytes were verified when they were published; Read
// does not verify them again, [Blob.Verified] does.
type Blob struct {
	f    *os.File
	d    digest.Digest
	size int64
}

// OpenBlob opens a blob, or says ErrNotFound.
func (s *Store) OpenBlob(d digest.Digest) (*Blob, error) {
	if err := s.hold(d); err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	for range 2 { // it may change shelves between find and open
		path, _, err := s.find("blobs", d)
		if err != nil {
			return nil, fmt.Errorf("open blob %s: %w", d, err)
		}
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open blob %s: %w", d, err)
		}
		st, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("open blob %s: %w", d, err)
		}
		return &Blob{f, d, st.Size()}, nil
	}
	return nil, fmt.Errorf("open blob %s: %w", d, ErrNotFound)
}

// Digest is the blob's name.
func (b *Blob) Digest() digest.Digest { return b.d }

// Size is the number of bytes.
func (b *Blob) Size() int64 { return b.size }

// File is the open file, for sendfile; it belongs to the blob.
func (b *Blob) File() *os.File { return b.f }

func (b *Blob) Read(p []byte) (int, error)              { return b.f.Read(p) }
func (b *Blob) ReadAt(p []byte, off int64) (int, error) { return b.f.ReadAt(p, off) }
func (b *Blob) Seek(off int64, from int) (int64, error) { return b.f.Seek(off, from) }

// Close closes the file.
func (b *Blob) Close() error { return b.f.Close() }

// Verified reads the blob from where it stands, which must be the start, and
// fails with a *DigestError instead of io.EOF when the content is not what the
// name promises. Closing the reader closes the blob.
func (b *Blob) Verified() io.ReadCloser {
	return &verified{r: b.f, c: b.f, h: b.d.Algorithm().Hash(), want: b.d}
}

// verified hashes what is read and checks it at the end.
type verified struct {
	r    io.Reader
	c    io.Closer
	h    hash.Hash
	want digest.Digest
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.h.Write(p[:n])
	if err == io.EOF {
		if verr := v.check(); verr != nil {
			return n, verr
		}
	}
	return n, err
}

func (v *verified) check() error {
	if got := digest.NewDigest(v.want.Algorithm(), v.h); got != v.want {
		return &DigestError{Want: v.want, Got: got}
	}
	return nil
}

func (v *verified) Close() error {
	if v.c == nil {
		return nil
	}
	return v.c.Close()
}

// ReadManifest reads a manifest, index or config of at most 4 MiB, verified.
func (s *Store) ReadManifest(d digest.Digest) ([]byte, error) {
	b, err := s.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	v := b.Verified()
	defer v.Close()
	if b.Size() > MaxManifest {
		return nil, fmt.Errorf("read blob %s: %d bytes are more than the %d that a manifest may have", d, b.Size(), MaxManifest)
	}
	data := make([]byte, 0, b.Size()+1)
	for {
		n, err := v.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read blob %s: %w", d, err)
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

// BlobOptions of CreateBlob.
type BlobOptions struct {
	// Durable blobs are on disk when Commit returns. The others survive the
	// process but not a power cut, until Tag or PutImage names them.
	Durable bool
	// Expect is checked by Commit: the digest if it has one, the size if it is
	// not zero, and given back with the annotations and media type it came with.
	Expect ocispec.Descriptor
}

// BlobWriter takes the bytes of one blob.
type BlobWriter struct {
	s    *Store
	o    BlobOptions
	f    *os.File
	out  outward
	h    hash.Hash
	n    int64
	done bool
}

// CreateBlob begins a blob. The caller closes the writer in any case; what was
// not committed is then gone.
func (s *Store) CreateBlob(o BlobOptions) (*BlobWriter, error) {
	alg := digest.Canonical
	if o.Expect.Digest != "" {
		if err := validDigest(o.Expect.Digest); err != nil {
			return nil, fmt.Errorf("create blob: %w", err)
		}
		alg = o.Expect.Digest.Algorithm()
	}
	path, err := s.temp()
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	return &BlobWriter{s: s, o: o, f: f, out: outward{f: f}, h: alg.Hash()}, nil
}

// Write appends bytes. More than the expected size are refused at once.
func (w *BlobWriter) Write(p []byte) (int, error) {
	if want := w.o.Expect; want.Digest != "" && want.Size > 0 && w.n+int64(len(p)) > want.Size {
		return 0, fmt.Errorf("write blob %s: content is longer than %d bytes", want.Digest, want.Size)
	}
	n, err := w.out.Write(p)
	w.h.Write(p[:n])
	w.n += int64(n)
	return n, err
}

// Commit verifies and publishes the blob. Its descriptor has the media type and
// annotations that were expected.
func (w *BlobWriter) Commit(ctx context.Context) (ocispec.Descriptor, error) {
	desc := w.o.Expect
	got := digest.NewDigestFromBytes(w.algorithm(), w.h.Sum(nil))
	if err := w.check(ctx, got); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("commit blob %s: %w", got, err)
	}
	desc.Digest, desc.Size = got, w.n
	if err := w.s.hold(got); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("commit blob %s: %w", got, err)
	}
	if err := w.publish(got); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("commit blob %s: %w", got, err)
	}
	return desc, nil
}

func (w *BlobWriter) algorithm() digest.Algorithm {
	if w.o.Expect.Digest != "" {
		return w.o.Expect.Digest.Algorithm()
	}
	return digest.Canonical
}

func (w *BlobWriter) check(ctx context.Context, got digest.Digest) error {
	want := w.o.Expect
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case w.done:
		return os.ErrClosed
	case want.Digest == "":
		return nil
	case want.Size > 0 && want.Size != w.n:
		return fmt.Errorf("content has %d bytes, want %d", w.n, want.Size)
	case got != want.Digest:
		return &DigestError{Want: want.Digest, Got: got}
	}
	return nil
}

func (w *BlobWriter) publish(d digest.Digest) error {
	if w.o.Durable {
		if err := w.f.Sync(); err != nil {
			return err
		}
	}
	w.done = true
	if err := w.f.Close(); err != nil {
		os.Remove(w.f.Name())
		return err
	}
	if w.s.has(w.s.kept("blobs", d)) { // an equal one is there and its bytes are durable
		if err := os.Remove(w.f.Name()); err != nil || !w.o.Durable {
			return err
		}
		return lockfile.SyncDir(filepath.Dir(w.s.kept("blobs", d)))
	}
	if err := w.s.publish(w.f.Name(), "blobs", d, w.o.Durable); err != nil {
		os.Remove(w.f.Name())
		return err
	}
	return nil
}

// Close gives up what was not committed.
func (w *BlobWriter) Close() error {
	if w.done {
		return nil
	}
	w.done = true
	w.f.Close()
	return os.Remove(w.f.Name())
}

// PutBlob stores one blob, verified against desc. A blob that is there already
// costs nothing and r is not read.
func (s *Store) PutBlob(ctx context.Context, desc ocispec.Descriptor, r io.Reader, durable bool) error {
	if size, err := s.StatBlob(desc.Digest); err == nil && size == desc.Size {
		if durable {
			return s.keepBlob(desc.Digest)
		}
		return nil
	}
	w, err := s.CreateBlob(BlobOptions{Durable: durable, Expect: desc})
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := copyContext(ctx, w, r); err != nil {
		return fmt.Errorf("put blob %s: %w", desc.Digest, err)
	}
	_, err = w.Commit(ctx)
	return err
}

// copyContext is io.Copy that ends with its context.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := make([]byte, 256<<10)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := r.Read(buf)
		if k > 0 {
			if _, werr := w.Write(buf[:k]); werr != nil {
				return n, werr
			}
			n += int64(k)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
