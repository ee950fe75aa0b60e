package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Folder is a cache in an OCI layout on disk: type=local.
type Folder struct {
	Dir string
	// Tag names one of several caches in the folder; empty is "latest".
	Tag string
}

// Repository says that a folder is none, see [Origin].
func (f Folder) Repository() string { return "" }

func (f Folder) tag() string {
	if f.Tag == "" {
		return "latest"
	}
	return f.Tag
}

func (f Folder) blob(d digest.Digest) string {
	return filepath.Join(f.Dir, "blobs", d.Algorithm().String(), d.Encoded())
}

// Put stores a blob, see [Sink].
func (f Folder) Put(_ context.Context, desc ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	if err := desc.Digest.Validate(); err != nil {
		return err
	}
	path := f.blob(desc.Digest)
	if st, err := os.Stat(path); err == nil && st.Size() == desc.Size {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	return writeAside(path, verified(r, desc))
}

// Publish makes a manifest the target of the folder's tag, see [Sink].
func (f Folder) Publish(ctx context.Context, desc ocispec.Descriptor, manifest []byte) error {
	if err := f.Put(ctx, desc, opener(manifest)); err != nil {
		return err
	}
	layout := []byte(`{"imageLayoutVersion":"1.0.0"}`)
	if err := writeAside(filepath.Join(f.Dir, ocispec.ImageLayoutFile), bytes.NewReader(layout)); err != nil {
		return err
	}
	index, err := f.index()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	index.Versioned, index.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageIndex
	kept := []ocispec.Descriptor{}
	for _, m := range index.Manifests {
		if m.Annotations[ocispec.AnnotationRefName] != f.tag() {
			kept = append(kept, m)
		}
	}
	desc.Annotations = map[string]string{ocispec.AnnotationRefName: f.tag()}
	index.Manifests = append(kept, desc)
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return writeAside(filepath.Join(f.Dir, ocispec.ImageIndexFile), bytes.NewReader(raw))
}

func (f Folder) index() (ocispec.Index, error) {
	var index ocispec.Index
	raw, err := readLimited(filepath.Join(f.Dir, ocispec.ImageIndexFile), 4<<20)
	if err != nil {
		return index, err
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return index, fmt.Errorf("read %s: %w", ocispec.ImageIndexFile, err)
	}
	return index, nil
}

// Resolve reads the manifest of the folder's tag, see [Origin].
func (f Folder) Resolve(ctx context.Context) ([]byte, error) {
	index, err := f.index()
	if err != nil {
		return nil, err
	}
	for _, m := range index.Manifests {
		if m.Annotations[ocispec.AnnotationRefName] == f.tag() {
			return readBlob(ctx, f, m)
		}
	}
	return nil, fmt.Errorf("%s has no tag %q", f.Dir, f.tag())
}

// Open reads a blob, see [Origin].
func (f Folder) Open(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, err
	}
	return os.Open(f.blob(desc.Digest))
}

func readLimited(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("read %s: larger than %d bytes", path, limit)
	}
	return data, err
}

func writeAside(path string, r io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, r)
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

func descriptor(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func opener(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// readBlob reads and verifies a small blob.
func readBlob(ctx context.Context, from Origin, desc ocispec.Descriptor) ([]byte, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, err
	}
	if desc.Size < 0 || desc.Size > configLimit {
		return nil, fmt.Errorf("blob %s: size %d is out of bounds", desc.Digest, desc.Size)
	}
	r, err := from.Open(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(verified(r, desc))
}

// verified reads exactly the bytes of a descriptor; others end in an error instead of EOF.
func verified(r io.Reader, desc ocispec.Descriptor) io.Reader {
	return &verifier{r: io.LimitReader(r, desc.Size+1), desc: desc, v: desc.Digest.Verifier()}
}

type verifier struct {
	r    io.Reader
	desc ocispec.Descriptor
	v    digest.Verifier
	n    int64
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.v.Write(p[:n])
	v.n += int64(n)
	if errors.Is(err, io.EOF) && (v.n != v.desc.Size || !v.v.Verified()) {
		return n, fmt.Errorf("blob %s: its bytes do not match", v.desc.Digest)
	}
	return n, err
}
