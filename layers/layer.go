package layers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Chain is the diffIDs of an image's layers from the base up.
type Chain []digest.Digest

// ID is the chain ID of the OCI image specification: one digest for the whole.
func (c Chain) ID() digest.Digest {
	if len(c) == 0 {
		return digest.Canonical.FromString("")
	}
	ids := c.ids()
	return ids[len(ids)-1]
}

// ids are the chain IDs of the chain up to each of its layers.
func (c Chain) ids() []digest.Digest {
	ids := make([]digest.Digest, len(c))
	for i, d := range c {
		ids[i] = d
		if i > 0 {
			ids[i] = digest.Canonical.FromString(string(ids[i-1]) + " " + string(d))
		}
	}
	return ids
}

// LayerInfo tells what the store has of a layer.
type LayerInfo struct {
	DiffID        digest.Digest
	Size          int64  // of the tar
	HasTree       bool   // a shared tree; trees that depend on a chain are not told
	HasTar        bool   // kept as a tar
	Packed        string // version of our packer that made it; empty for layers from elsewhere
	SelfContained bool   // its tree does not depend on the layers below
	// Blobs are the compressed forms that are known, whether or not their bytes
	// are in the store: the one it came as first.
	Blobs []ocispec.Descriptor
}

// layerRecord is the file "info" of a layer's folder, written last.
type layerRecord struct {
	Size          int64  `json:"size"`
	Packed        string `json:"packed,omitempty"`
	SelfContained bool   `json:"selfContained"`
	// Marks is the time of the whiteouts in a tar that is made from the tree: neither tree nor index says it.
	Marks int64 `json:"marks,omitempty"`
}

// formRecord is a file "blob-…" of a layer's folder: a compressed form.
type formRecord struct {
	Descriptor ocispec.Descriptor `json:"descriptor"`
	Compressor string             `json:"compressor,omitempty"` // compress.Spec.Version, empty if it came from elsewhere
}

// Layer tells what the store has of a layer, or ErrNotFound, and holds it.
func (s *Store) Layer(diffID digest.Digest) (LayerInfo, error) {
	info, err := s.layer(diffID)
	if err != nil {
		return LayerInfo{}, fmt.Errorf("look up layer %s: %w", diffID, err)
	}
	return info, nil
}

func (s *Store) layer(diffID digest.Digest) (LayerInfo, error) {
	if err := s.hold(diffID); err != nil {
		return LayerInfo{}, err
	}
	l, err := s.openLayer(diffID)
	if err != nil {
		return LayerInfo{}, err
	}
	defer l.Close()
	var rec layerRecord
	if err := l.read("info", &rec); err != nil {
		return LayerInfo{}, err
	}
	info := LayerInfo{DiffID: diffID, Size: rec.Size, Packed: rec.Packed, SelfContained: rec.SelfContained}
	info.HasTar, info.HasTree = l.has("tar"), s.hasTree(diffID)
	forms, err := l.forms()
	for _, f := range forms {
		if f.Compressor == "" {
			info.Blobs = append([]ocispec.Descriptor{f.Descriptor}, info.Blobs...)
			continue
		}
		info.Blobs = append(info.Blobs, f.Descriptor)
	}
	return info, err
}

// addForm remembers a compressed form of a layer.
func (s *Store) addForm(diffID digest.Digest, f formRecord) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return s.writeLayerFile(diffID, f.name(), data)
}

// name is the form's file in its layer's folder.
func (f formRecord) name() string { return "blob-" + f.Descriptor.Digest.Encoded() }

// LayerWriter takes the canonical tar of one layer, as our packer writes it.
type LayerWriter struct {
	s    *Store
	dir  string // under tmp/, becomes the layer's folder
	f    *os.File
	h    hash.Hash
	to   *writeBehind // both
	n    int64
	o    LayerOptions
	done bool
}

// LayerOptions say what is known of a layer that is being written.
type LayerOptions struct {
	Packed        string // version of our packer that makes this tar; CreateLayer takes the present one
	SelfContained bool
	// Index, if set, is called by Commit for the layer's index.
	Index func() *diff.Index

	forms []formRecord // that it came in
	marks int64        // layerRecord.Marks
}

// Write appends bytes of the tar.
func (w *LayerWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.n += int64(n)
	return n, err
}

// newLayer begins a layer's folder with an empty tar.
func (s *Store) newLayer(o LayerOptions) (*LayerWriter, error) {
	dir, err := s.temp()
	if err != nil {
		return nil, fmt.Errorf("create layer: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create layer: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "tar"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create layer: %w", err)
	}
	h := digest.Canonical.Hash()
	return &LayerWriter{s: s, dir: dir, f: f, h: h, to: newWriteBehind(io.MultiWriter(&outward{f: f}, h)), o: o}, nil
}

// commit publishes the folder on this boot's shelf; PutImage makes it durable.
func (w *LayerWriter) commit(ctx context.Context) (LayerInfo, error) {
	if w.done {
		return LayerInfo{}, os.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return LayerInfo{}, err
	}
	w.done = true
	err := errors.Join(w.to.Close(), w.f.Close())
	d := digest.NewDigest(digest.Canonical, w.h)
	if err == nil {
		err = w.s.publishLayer(w.dir, d, w.n, w.o)
	}
	if err != nil {
		_ = w.s.discard(w.dir) // else collection finds it under tmp/
		return LayerInfo{}, fmt.Errorf("commit layer %s: %w", d, err)
	}
	return w.s.Layer(d)
}

// publishLayer finishes a folder under tmp/ and renames it to be the layer's.
// Of two equal layers the first stays, unless no form of it is left or its record is gone.
func (s *Store) publishLayer(dir string, d digest.Digest, size int64, o LayerOptions) error {
	if err := s.hold(d); err != nil {
		return err
	}
	if o.Index != nil {
		if err := writeIndex(filepath.Join(dir, "index"), o.Index()); err != nil {
			return err
		}
	}
	rec := layerRecord{Size: size, Packed: o.Packed, SelfContained: o.SelfContained, Marks: o.marks}
	if err := writeJSON(filepath.Join(dir, "info"), rec); err != nil {
		return err
	}
	for _, f := range o.forms {
		if err := writeJSON(filepath.Join(dir, f.name()), f); err != nil {
			return err
		}
	}
	path, _, err := s.find("layers", d)
	if _, rerr := s.layer(d); err == nil && rerr == nil && s.whole(d) {
		return s.throw(dir)
	}
	if err == nil {
		if err := s.throw(path); err != nil {
			return err
		}
	}
	return s.publish(dir, "layers", d, false)
}

func writeIndex(path string, x *diff.Index) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(x.Encode(f), f.Close())
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// Close gives up what was not committed.
func (w *LayerWriter) Close() error {
	if w.done {
		return nil
	}
	w.done = true
	w.to.Close()
	w.f.Close()
	return w.s.discard(w.dir)
}

// CreateLayer begins a layer whose tar the caller writes: COPY and ADD, with our
// packer. The caller closes the writer in any case; what was not committed is
// then gone.
func (s *Store) CreateLayer(o LayerOptions) (*LayerWriter, error) {
	if o.Packed == "" {
		o.Packed = diff.PackerVersion
	}
	return s.newLayer(o)
}

// Commit publishes the layer under the digest of what was written. It is durable
// once PutImage has named it.
func (w *LayerWriter) Commit(ctx context.Context) (LayerInfo, error) { return w.commit(ctx) }
