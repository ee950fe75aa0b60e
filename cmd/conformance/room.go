package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

// room is where cases are laid, served and built.
type room struct {
	dir   string
	files *httptest.Server
	hod   *corpus.Hod
	bases []corpus.Base
	seen  []*corpus.Image // of the bases
}

// openRoom makes a store with the bases of the cases, and serves their files.
func openRoom(ctx context.Context, o options, name string, cases []*corpus.Case) (*room, error) {
	dir := filepath.Join(o.work, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	box, err := corpus.Box()
	if err != nil {
		return nil, err
	}
	r := &room{dir: dir, hod: &corpus.Hod{Binary: o.hod, Root: dir + "/store", Reader: corpus.NewReader()}, bases: []corpus.Base{box}}
	for _, c := range cases {
		own, err := c.Images()
		if err != nil {
			return nil, err
		}
		r.bases = append(r.bases, own...)
	}
	for _, b := range r.bases {
		images, err := r.hod.Reader.Base(b)
		if err != nil {
			return nil, err
		}
		r.seen = append(r.seen, images...)
		if err := r.hod.Load(ctx, b); err != nil {
			return nil, fmt.Errorf("bring %s into the store: %w", b.Name, err)
		}
	}
	r.files = corpus.Serve(dir)
	return r, nil
}

// place lays a case.
func (r *room) place(c *corpus.Case) (corpus.Place, error) {
	p := corpus.Place{Dir: filepath.Join(r.dir, c.Name), URL: r.files.URL + "/" + c.Name, Time: timeOf(c)}
	return p, c.Lay(p)
}

// timeOf gives each case's files a time of their own: BuildKit takes a file of the same name, size and time for the one
// that it was sent in an earlier build.
func timeOf(c *corpus.Case) time.Time {
	h := fnv.New32a()
	h.Write([]byte(c.Name))
	return time.Unix(1_500_000_000+int64(h.Sum32()%100_000_000), 0)
}
