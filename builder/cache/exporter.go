package cache

import (
	"context"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Exporter sends a build's cache away while the build goes on: each layer as soon as it is there, the records at the end.
type Exporter struct {
	blobs  Blobs
	to     Sink
	layers chan digest.Digest
	group  *errgroup.Group
	stop   context.CancelFunc

	mu   sync.Mutex // guards what follows
	p    Portable
	sent map[digest.Digest]ocispec.Descriptor
	seen map[digest.Digest]bool
}

// exportJobs is how many layers are compressed and sent at once.
const exportJobs = 2

// NewExporter starts an export of at most steps records. The caller ends it with Finish or Close.
func NewExporter(ctx context.Context, steps int, blobs Blobs, to Sink) *Exporter {
	ctx, stop := context.WithCancel(ctx)
	e := &Exporter{blobs: blobs, to: to, layers: make(chan digest.Digest, steps), stop: stop,
		sent: map[digest.Digest]ocispec.Descriptor{}, seen: map[digest.Digest]bool{}}
	e.group, ctx = errgroup.WithContext(ctx)
	for range exportJobs {
		e.group.Go(func() error { return e.work(ctx) })
	}
	return e
}

// Add notes what a step left, and begins to send its layer.
func (e *Exporter) Add(op digest.Digest, r Record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.p.Add(op, r, r.Keys...)
	if r.Layer != "" && !e.seen[r.Layer] {
		e.seen[r.Layer] = true
		e.layers <- r.Layer
	}
}

func (e *Exporter) work(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d, more := <-e.layers:
			if !more {
				return nil
			}
			desc, err := sendLayer(ctx, e.blobs, e.to, d)
			if err != nil {
				return err
			}
			e.mu.Lock()
			e.sent[d] = desc
			e.mu.Unlock()
		}
	}
}

// Finish waits for the layers and publishes the records. It gives back the manifest's descriptor.
func (e *Exporter) Finish(ctx context.Context) (ocispec.Descriptor, error) {
	close(e.layers)
	if err := e.group.Wait(); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("export cache: %w", err)
	}
	e.p.normalize()
	for _, d := range e.p.diffIDs() {
		e.p.Layers = append(e.p.Layers, PortableLayer{d, e.sent[d]})
	}
	return e.p.publish(ctx, e.to)
}

// Close gives an export up, and does nothing after Finish.
func (e *Exporter) Close() error {
	e.stop()
	e.group.Wait()
	return nil
}
