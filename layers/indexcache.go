package layers

import (
	"sync"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
)

// indexCache remembers the indexes that were read last: each step of a build
// looks through all layers below it. It holds as much as a large image has, and
// forgets everything when that is too little.
type indexCache struct {
	mu      sync.Mutex // guards all
	known   map[digest.Digest]*diff.Index
	entries int
}

// maxIndexed bounds the entries that are remembered, of about 250 bytes each.
const maxIndexed = 1 << 16

func (c *indexCache) get(d digest.Digest) *diff.Index {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[d]
}

func (c *indexCache) put(d digest.Digest, x *diff.Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(x.Entries) > maxIndexed || c.known[d] != nil {
		return
	}
	if c.entries += len(x.Entries); c.known == nil || c.entries > maxIndexed {
		c.known, c.entries = map[digest.Digest]*diff.Index{}, len(x.Entries)
	}
	c.known[d] = x
}
