package layers

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Upload is a blob on its way into a server's repository, in pieces that may
// come through different processes.
type Upload struct {
	ID    string
	repo  string
	p     *Partial
	state uploadState
	sum   *running // of the bytes so far; nil where only reading them again tells
}

// running is a digest in the making, and of how many bytes it is.
type running struct {
	hash.Hash
	n int64
}

func (r *running) Write(p []byte) (int, error) {
	r.n += int64(len(p))
	return r.Hash.Write(p)
}

// OffsetError says that a piece does not begin where the upload ends.
type OffsetError struct{ Want, Got int64 }

func (e *OffsetError) Error() string {
	return fmt.Sprintf("piece begins at byte %d, want %d", e.Got, e.Want)
}

// uploadState is what an upload's folder says beside its bytes. The digest of the
// bytes goes on from request to request; it is believed in the same boot only,
// because the bytes are not synced.
type uploadState struct {
	Repo    string    `json:"repo"`
	Started time.Time `json:"started"`
	Sum     []byte    `json:"sum,omitempty"`    // of the first Hashed bytes, as sha256 writes its state down
	Hashed  int64     `json:"hashed,omitempty"` // bytes
	Boot    string    `json:"boot,omitempty"`
}

// NewUpload begins an upload into a repository.
func (s *Store) NewUpload(repo string) (*Upload, error) {
	if !ValidRepository(repo) {
		return nil, fmt.Errorf("begin upload: %q is not a repository name", repo)
	}
	id := lockfile.Random() + lockfile.Random()
	u, err := s.openUpload(repo, id)
	if err != nil {
		return nil, fmt.Errorf("begin upload: %w", err)
	}
	u.state = uploadState{Repo: repo, Started: s.o.Now().UTC()}
	u.sum = &running{Hash: digest.Canonical.Hash()}
	if err := u.writeState(); err != nil {
		u.p.Remove()
		return nil, fmt.Errorf("begin upload: %w", err)
	}
	return u, nil
}

// OpenUpload goes on with an upload. ErrNotFound when the repository has none of
// that ID, ErrBusy when another request is writing it.
func (s *Store) OpenUpload(repo, id string) (*Upload, error) {
	if len(id) != 32 || !isHex(id) || !s.has(s.path("uploads", id)) {
		return nil, fmt.Errorf("open upload %q: %w", id, ErrNotFound)
	}
	u, err := s.openUpload(repo, id)
	if err != nil {
		return nil, fmt.Errorf("open upload %q: %w", id, err)
	}
	raw, err := u.p.State()
	if err == nil && raw != nil {
		err = json.Unmarshal(raw, &u.state)
	}
	if err == nil && u.state.Repo != repo {
		err = ErrNotFound
	}
	if err != nil {
		u.p.Close()
		return nil, fmt.Errorf("open upload %q: %w", id, err)
	}
	u.sum = u.resumed()
	return u, nil
}

// resumed is the digest where the last request left it.
func (u *Upload) resumed() *running {
	h := digest.Canonical.Hash()
	from, ok := h.(encoding.BinaryUnmarshaler)
	switch {
	case u.state.Hashed == 0:
		return &running{Hash: h}
	case !ok, u.state.Boot != u.boot(), from.UnmarshalBinary(u.state.Sum) != nil:
		return nil
	}
	return &running{Hash: h, n: u.state.Hashed}
}

// boot names this boot, or is another name each time where there is none.
func (u *Upload) boot() string {
	id, err := u.p.s.bootID()
	if err != nil {
		return lockfile.Random()
	}
	return id
}

// writeState writes down where the upload and its digest are.
func (u *Upload) writeState() error {
	u.state.Sum, u.state.Hashed, u.state.Boot = nil, 0, ""
	if u.sum != nil && u.sum.n > 0 {
		if to, ok := u.sum.Hash.(encoding.BinaryMarshaler); ok {
			sum, err := to.MarshalBinary()
			if err != nil {
				return err
			}
			u.state.Sum, u.state.Hashed, u.state.Boot = sum, u.sum.n, u.boot()
		}
	}
	raw, err := json.Marshal(u.state)
	if err != nil {
		return err
	}
	return u.p.SetState(raw)
}

func (s *Store) openUpload(repo, id string) (*Upload, error) {
	p := &Partial{s: s, dir: s.path("uploads", id)}
	if err := p.open(); err != nil {
		return nil, err
	}
	return &Upload{ID: id, repo: repo, p: p}, nil
}

// Repository is where the upload goes.
func (u *Upload) Repository() string { return u.repo }

// Size is the number of bytes so far.
func (u *Upload) Size() (int64, error) {
	st, err := u.p.f.Stat()
	if err != nil {
		return 0, fmt.Errorf("size of upload: %w", err)
	}
	return st.Size(), nil
}

// Append adds a piece that begins at offset; a negative offset means at the end,
// another than the end is an *OffsetError. Bytes that came before an error stay.
func (u *Upload) Append(ctx context.Context, offset int64, r io.Reader) (int64, error) {
	size, err := u.Size()
	if err != nil {
		return 0, err
	}
	if offset >= 0 && offset != size {
		return 0, &OffsetError{Want: size, Got: offset}
	}
	now := u.p.s.o.Now()
	if err := os.Chtimes(u.p.dir, now, now); err != nil { // it expires from its last piece
		return 0, fmt.Errorf("append to upload: %w", err)
	}
	to := io.NewOffsetWriter(u.p.f, size)
	if u.sum != nil && u.sum.n != size { // somebody died between the bytes and their digest
		u.sum = nil
	}
	var n int64
	if u.sum == nil {
		n, err = copyContext(ctx, to, r)
	} else if n, err = CopyHashed(ctx, to, r, u.sum); u.sum.n != size+n {
		u.sum = nil
	}
	if err != nil {
		return n, fmt.Errorf("append to upload: %w", err)
	}
	return n, nil
}

// Commit verifies the whole, publishes it durably, links it into the repository
// and ends the upload.
func (u *Upload) Commit(ctx context.Context, d digest.Digest) (ocispec.Descriptor, error) {
	size, err := u.Size()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: size}
	if err := u.commit(ctx, desc); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("commit upload of %s: %w", d, err)
	}
	if err := u.p.s.LinkBlob(u.repo, d); err != nil {
		return ocispec.Descriptor{}, err
	}
	return desc, u.p.Remove()
}

// commit hashes again only what was not hashed while it came.
func (u *Upload) commit(ctx context.Context, desc ocispec.Descriptor) error {
	if u.sum == nil || u.sum.n != desc.Size || desc.Digest.Algorithm() != digest.Canonical {
		return u.p.commit(ctx, desc, true)
	}
	if err := CheckDescriptor(desc); err != nil {
		return err
	}
	if err := u.p.s.hold(desc.Digest); err != nil {
		return err
	}
	if got := digest.NewDigest(digest.Canonical, u.sum.Hash); got != desc.Digest {
		return &DigestError{Want: desc.Digest, Got: got}
	}
	return u.p.publish(desc.Digest, true)
}

// Cancel deletes the upload.
func (u *Upload) Cancel() error { return u.p.Remove() }

// Close lets the next request go on with the upload.
func (u *Upload) Close() error {
	var err error
	if u.p.f != nil && u.sum != nil && u.sum.n != u.state.Hashed {
		err = u.writeState()
	}
	return errors.Join(err, u.p.Close())
}

// DropUpload throws away the upload that rests longest, if it does for at least that
// long and nobody writes it, and tells whether one went.
func (s *Store) DropUpload(rest time.Duration) (bool, error) {
	ids, err := s.Uploads()
	if err != nil {
		return false, err
	}
	oldest, since := "", s.o.Now().Add(-rest)
	for _, id := range ids {
		if st, err := os.Stat(s.path("uploads", id)); err == nil && !st.ModTime().After(since) {
			oldest, since = id, st.ModTime()
		}
	}
	if oldest == "" {
		return false, nil
	}
	u, err := s.openUpload("", oldest)
	if err != nil {
		return false, nil // somebody writes it after all
	}
	return true, u.Cancel()
}

// Uploads lists the IDs of the uploads that are under way.
func (s *Store) Uploads() ([]string, error) {
	entries, err := os.ReadDir(s.path("uploads"))
	if err != nil {
		return nil, fmt.Errorf("list uploads: %w", err)
	}
	ids := make([]string, 0, len(entries))
	for _, e := range entries {
		ids = append(ids, filepath.Base(e.Name()))
	}
	return ids, nil
}
