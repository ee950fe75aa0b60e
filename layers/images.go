package layers

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
)

// Images lists every image of the store, whether or not it has a name. What is
// removed meanwhile is left out.
func (s *Store) Images(ctx context.Context) ([]*Image, error) {
	entries, err := os.ReadDir(s.path("images/ids"))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var list []*Image
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d := digest.NewDigestFromEncoded(digest.Canonical, e.Name())
		if validDigest(d) != nil { // a record that is being written
			continue
		}
		img, err := s.image(d)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		list = append(list, img)
	}
	return list, nil
}
