package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hodbuild/hod/builder/cache"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/compress"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CacheSource is a cache that another build exported.
type CacheSource struct {
	Name   string // for people
	Origin cache.Origin
}

// CacheTarget is a place that takes a build's cache.
type CacheTarget struct {
	Name string // for people
	Sink cache.Sink
	// Max also exports the steps that the result only read from; min what it is made of.
	Max         bool
	Compression compress.Spec
	// Force compresses layers anew that came with another compression.
	Force bool
	// IgnoreErrors lets the build succeed where the export does not.
	IgnoreErrors bool
}

// export is one running export of a cache.
type export struct {
	CacheTarget
	*cache.Exporter
}

// importCaches reads the caches of other builds. One that cannot be read is told, and no error: the build only takes
// longer.
func (b *build) importCaches(ctx context.Context) error {
	for _, from := range b.o.CacheFrom {
		im, err := cache.Import(ctx, from.Origin)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			b.tell(Event{Kind: "warning", Warning: Warning{Rule: "CacheNotImported", Message: fmt.Sprintf("%s: %v", from.Name, err)}})
			continue
		}
		b.imports = append(b.imports, im)
	}
	return nil
}

// startExports begins to export, which goes on while steps run.
func (b *build) startExports(ctx context.Context) {
	b.result = map[*plan.Step]bool{}
	for _, t := range b.plan.Targets {
		for s := t.Step; s != nil; s = s.Parent {
			b.result[s] = true
		}
	}
	for _, to := range b.o.CacheTo {
		if to.Compression.Algorithm == "" {
			to.Compression = compress.Spec{Algorithm: compress.Gzip}
		}
		e := cache.NewExporter(ctx, len(b.plan.Steps), &cacheBlobs{b, to.Compression, to.Force}, to.Sink)
		b.exports = append(b.exports, export{to, e})
		b.keep(e.Close)
	}
}

// export notes what a step left, for the caches that are exported and for the one inside the image. It does so once for
// each step, and with all keys, so that what is exported does not depend on what was cached.
func (b *build) export(s *plan.Step, op digest.Digest, r cache.Record) {
	if !b.o.InlineCache && len(b.exports) == 0 {
		return
	}
	b.mu.Lock()
	_, done := b.noted[s]
	if b.noted == nil {
		b.noted = map[*plan.Step]noted{}
	}
	b.noted[s] = noted{op, r}
	b.mu.Unlock()
	for _, e := range b.exports {
		if !done && (e.Max || b.result[s]) {
			e.Add(op, r)
		}
	}
}

// noted is a step's record with its operation.
type noted struct {
	op     digest.Digest
	record cache.Record
}

// finishExports adds what no step of this build had to look at, and publishes the records.
func (b *build) finishExports(ctx context.Context) error {
	if slices.ContainsFunc(b.exports, func(e export) bool { return e.Max }) {
		if err := b.exportRest(ctx); err != nil {
			return err
		}
	}
	for _, e := range b.exports {
		_, err := e.Finish(ctx)
		switch {
		case err == nil:
		case e.IgnoreErrors && ctx.Err() == nil:
			b.tell(Event{Kind: "warning", Warning: Warning{Rule: "CacheNotExported", Message: fmt.Sprintf("%s: %v", e.Name, err)}})
		default:
			return fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	return nil
}

// exportRest notes the steps below those that were found, for max mode.
func (b *build) exportRest(ctx context.Context) error {
	for _, s := range b.plan.Steps {
		if _, done := b.noted[s]; done || !keyed(s) || b.uncacheable(s) {
			continue
		}
		k, err := b.keys(ctx, s)
		if err != nil {
			return err
		}
		r, err := b.cache.Find(k.op, k.key)
		if err != nil {
			return err
		}
		if r == nil {
			if r, _ = b.imported(k.op, k.key); r == nil {
				continue
			}
		}
		b.export(s, k.op, withKey(*r, k.key))
	}
	return nil
}

// withKey makes sure that a record knows a key that it was found by.
func withKey(r cache.Record, key digest.Digest) cache.Record {
	if !slices.Contains(r.Keys, key) {
		r.Keys = append(slices.Clone(r.Keys), key)
	}
	return r
}

// inline puts the cache of a target's own steps into its config.
func (b *build) inline(t plan.Target, config []byte, chain layers.Chain) ([]byte, error) {
	if !b.o.InlineCache {
		return config, nil
	}
	var p cache.Portable
	for s := t.Step; s != nil; s = s.Parent {
		if n, ok := b.noted[s]; ok {
			p.Add(n.op, n.record, n.record.Keys...)
		}
	}
	raw, err := p.Inline(chain)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, err
	}
	fields[cache.InlineKey] = raw
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// cacheBlobs gives an exported cache the compressed forms of its layers.
type cacheBlobs struct {
	b     *build
	spec  compress.Spec
	force bool
}

// Compressed finds or makes a layer's blob: the one that it came as, where nothing asks for another.
func (c *cacheBlobs) Compressed(ctx context.Context, d digest.Digest) (ocispec.Descriptor, error) {
	info, err := c.b.o.Store.Layer(d)
	if errors.Is(err, layers.ErrNotFound) {
		for _, im := range c.b.imports {
			if desc, ok := im.Blob(d); ok {
				return desc, nil
			}
		}
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if info.Packed == "" && !c.force {
		for _, desc := range info.Blobs {
			if _, err := c.b.o.Store.StatBlob(desc.Digest); err == nil {
				return desc, nil
			}
		}
	}
	return c.b.o.Store.Compressed(ctx, d, c.spec)
}

// Open reads a blob of the store, or of the cache that it was imported from.
func (c *cacheBlobs) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	blob, err := c.b.o.Store.OpenBlob(desc.Digest)
	if err == nil {
		return blob, nil
	}
	if !errors.Is(err, layers.ErrNotFound) {
		return nil, err
	}
	for _, im := range c.b.imports {
		if r, rerr := im.Open(ctx, desc); rerr == nil {
			return r, nil
		}
	}
	return nil, err
}
