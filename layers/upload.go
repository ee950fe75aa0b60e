package layers

import (
	"context"
	"encoding/json"
	"fmt"
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
	ID   string
	repo string
	p    *Partial
}

// OffsetError says that a piece does not begin where the upload ends.
type OffsetError struct{ Want, Got int64 }

func (e *OffsetError) Error() string {
	return fmt.Sprintf("piece begins at byte %d, want %d", e.Got, e.Want)
}

type uploadState struct {
	Repo    string    `json:"repo"`
	Started time.Time `json:"started"`
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
	state, err := json.Marshal(uploadState{Repo: repo, Started: s.o.Now().UTC()})
	if err == nil {
		err = u.p.SetState(state)
	}
	if err != nil {
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
	var state uploadState
	if err == nil && raw != nil {
		err = json.Unmarshal(raw, &state)
	}
	if err == nil && state.Repo != repo {
		err = ErrNotFound
	}
	if err != nil {
		u.Close()
		return nil, fmt.Errorf("open upload %q: %w", id, err)
	}
	return u, nil
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
	n, err := copyContext(ctx, io.NewOffsetWriter(u.p.f, size), r)
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
	if err := u.p.commit(ctx, desc, true); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("commit upload of %s: %w", d, err)
	}
	if err := u.p.s.LinkBlob(u.repo, d); err != nil {
		return ocispec.Descriptor{}, err
	}
	return desc, u.p.Remove()
}

// Cancel deletes the upload.
func (u *Upload) Cancel() error { return u.p.Remove() }

// Close lets the next request go on with the upload.
func (u *Upload) Close() error { return u.p.Close() }

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
