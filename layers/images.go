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
	return s.eachImage(ctx, s.image)
}

// ImageRecords lists every image as far as its record says, for those who look for
// where something came from or was left: without config and chain, and nothing of it
// is held.
func (s *Store) ImageRecords(ctx context.Context) ([]*Image, error) {
	return s.eachImage(ctx, s.imageRecord)
}

func (s *Store) eachImage(ctx context.Context, read func(digest.Digest) (*Image, error)) ([]*Image, error) {
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
		img, err := read(d)
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
