package layers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// CreateLayer begins a layer whose tar is written by the caller. The caller closes the writer in any case; what was not
// committed is then gone.
func (s *Store) CreateLayer(o LayerOptions) (*LayerWriter, error) { return s.newLayer(o) }

// Commit publishes the layer under the digest of what was written. It is durable once PutImage has named it.
func (w *LayerWriter) Commit(ctx context.Context) (LayerInfo, error) { return w.commit(ctx) }

// OpenTar opens the tar form of a layer. ErrNotFound when the layer is not kept as a tar.
func (s *Store) OpenTar(diffID digest.Digest) (*os.File, error) {
	if err := s.hold(diffID); err != nil {
		return nil, fmt.Errorf("open layer %s: %w", diffID, err)
	}
	for range 2 { // the folder may change shelves in between
		dir, _, err := s.find("layers", diffID)
		if err != nil {
			return nil, fmt.Errorf("open layer %s: %w", diffID, err)
		}
		if f, err := os.Open(filepath.Join(dir, "tar")); err == nil {
			return f, nil
		}
	}
	return nil, fmt.Errorf("open tar of layer %s: %w", diffID, ErrNotFound)
}
