package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hodbuild/hod/builder/cache"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// bringing is the fetching of layers that are elsewhere: those of a base image or of an imported cache. It is done at most
// once, and only when somebody needs the bytes; a chain is known before.
type bringing struct {
	mu   sync.Mutex // guards done
	done bool
	do   func(ctx context.Context) error
	// origins, where known, say where the layers are, so that an image that needs no byte of them can name them.
	origins []layers.Origin
}

func (f *bringing) now(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return nil
	}
	err := f.do(ctx)
	f.done = err == nil
	return err
}

// bring makes sure that the layers of a step are in the store.
func (b *build) bring(ctx context.Context, st *state) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range st.away {
		g.Go(func() error { return f.now(ctx) })
	}
	return g.Wait()
}

// leave gives the layers that an image names without having them, where no output needs their bytes, and brings all others.
func (b *build) leave(ctx context.Context, st *state) ([]layers.Origin, error) {
	if !b.onlyPushed() {
		return nil, b.bring(ctx, st)
	}
	var left []layers.Origin
	needed := &state{}
	for _, f := range st.away {
		if len(f.origins) == 0 || slices.ContainsFunc(f.origins, func(o layers.Origin) bool { return !layers.IsCompressed(o.Blob) }) {
			needed.away = append(needed.away, f)
			continue
		}
		left = append(left, f.origins...)
	}
	return left, b.bring(ctx, needed)
}

// onlyPushed says whether all that becomes of the result is sent to registries as it is.
func (b *build) onlyPushed() bool {
	pushed := false
	for _, out := range b.o.Outputs {
		if out.Type == "cacheonly" {
			continue
		}
		if pushed = out.Push; !pushed || out.Load || out.Form.Force {
			return false
		}
	}
	return pushed && !b.o.Squash
}

// base resolves the start of a stage: its layers come when they are needed.
func (b *build) base(s *plan.Step, op plan.Base) *state {
	st := &state{chain: op.Chain}
	st.away = []*bringing{{origins: b.o.Images.Origins(op.Image()), do: func(ctx context.Context) error {
		b.tell(Event{Kind: "start", Step: s})
		if err := b.o.Images.Fetch(ctx, op.Image()); err != nil {
			b.tell(Event{Kind: "failed", Step: s, Err: err})
			return err
		}
		b.tell(Event{Kind: "done", Step: s})
		return nil
	}}}
	return st
}

// imported looks a step up in the caches that were imported.
func (b *build) imported(op, key digest.Digest) (*cache.Record, *cache.Imported) {
	for _, im := range b.imports {
		if r := im.Find(op, key); r != nil {
			return r, im
		}
	}
	return nil, nil
}

// fetched is the bringing of a layer of an imported cache, which becomes a record of this store when it is here.
func (b *build) fetched(im *cache.Imported, op digest.Digest, r cache.Record) *bringing {
	return &bringing{origins: origins(im, r.Layer), do: func(ctx context.Context) error {
		if err := b.ingest(ctx, im, r); err != nil {
			return fmt.Errorf("fetch layer %s of the imported cache: %w", r.Layer, err)
		}
		return b.cache.Save(ctx, op, r, r.Keys...)
	}}
}

// origins says where an imported cache has a layer.
func origins(im *cache.Imported, layer digest.Digest) []layers.Origin {
	blob, known := im.Blob(layer)
	repository := im.Repository()
	if !known || repository == "" {
		return nil
	}
	return []layers.Origin{{Layer: layer, Blob: blob, From: []string{repository}}}
}

func (b *build) ingest(ctx context.Context, im *cache.Imported, r cache.Record) error {
	if r.Layer == "" {
		return nil
	}
	if _, err := b.o.Store.Layer(r.Layer); err == nil || !errors.Is(err, layers.ErrNotFound) {
		return err
	}
	desc, ok := im.Blob(r.Layer)
	if !ok {
		return errors.New("the cache does not say where it is")
	}
	rc, err := im.Open(ctx, desc)
	if err != nil {
		return err
	}
	defer rc.Close()
	if _, err := b.o.Store.StatBlob(desc.Digest); err == nil { // a registry's blobs come by way of the store
		return b.o.Store.IngestStored(ctx, desc, r.Layer, layers.IngestOptions{})
	}
	_, err = b.o.Store.IngestBlob(ctx, desc, rc, r.Layer, layers.IngestOptions{})
	return err
}
