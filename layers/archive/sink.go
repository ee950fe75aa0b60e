package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Sink writes an OCI layout with a Docker manifest.json beside it. Blobs go
// first, in any order, then names; Close writes what lists them. The bytes
// depend on nothing but what was put and in which order.
type Sink struct {
	out output

	mu     sync.Mutex // guards what follows
	have   map[digest.Digest]bool
	index  []ocispec.Descriptor
	docker []dockerImage
	folder bool
	unique bool // a name stands for one entry
}

type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// output takes files by their clean relative names.
type output interface {
	write(name string, size int64, r io.Reader) error
	Close() error
}

// NewTar writes a tar to w.
func NewTar(w io.Writer) *Sink {
	return &Sink{out: &tarOutput{w: tar.NewWriter(w), dirs: map[string]bool{}}, have: map[digest.Digest]bool{}}
}

// NewFolder writes into a folder, which is made, and must be empty if it is there.
func NewFolder(dir string) (*Sink, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create layout: %w", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return nil, fmt.Errorf("create layout: folder %q is not empty", dir)
	}
	return &Sink{out: folderOutput{dir}, have: map[digest.Digest]bool{}, folder: true}, nil
}

// Has tells whether a blob was put already.
func (s *Sink) Has(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have[d]
}

// Put writes a blob; r gives exactly desc.Size verified bytes. A second time it
// reads nothing. Several blobs may be put at once; a folder takes them side by
// side, a tar one after the other.
func (s *Sink) Put(desc ocispec.Descriptor, r io.Reader) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("put blob: %w", err)
	}
	if s.Has(desc.Digest) {
		return nil
	}
	if err := s.out.write(blobPath(desc.Digest), desc.Size, r); err != nil {
		return fmt.Errorf("put blob %s: %w", desc.Digest, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have[desc.Digest] = true
	return nil
}

// Add lists a manifest or index that was put under its names; full is how
// containerd and Docker write them, and refName what the specification has.
func (s *Sink) Add(target ocispec.Descriptor, names ...Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(names) == 0 {
		s.replace(target)
		s.index = append(s.index, target)
	}
	for _, n := range names {
		d := target
		d.Annotations = map[string]string{"io.containerd.image.name": n.Full, ocispec.AnnotationRefName: n.Ref}
		s.replace(d)
		s.index = append(s.index, d)
	}
}

// Name is a name in the two ways in which index.json has it.
type Name struct{ Full, Ref string }

// AddDocker lists an image for readers of manifest.json, by what its manifest
// names; tags are in Docker's short form.
func (s *Sink) AddDocker(config digest.Digest, blobs []digest.Digest, tags []string) {
	image := dockerImage{Config: blobPath(config), RepoTags: slices.Clone(tags), Layers: []string{}}
	for _, d := range blobs {
		image.Layers = append(image.Layers, blobPath(d))
	}
	s.docker = append(s.docker, image)
}

// Close writes the lists and finishes the output; the caller's writer stays open.
func (s *Sink) Close() error {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: s.index}
	files := []struct {
		name string
		v    any
	}{
		{ocispec.ImageIndexFile, index},
		{"manifest.json", s.docker},
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
	}
	for _, f := range files {
		if f.name == "manifest.json" && (s.folder || s.docker == nil) {
			continue
		}
		raw, err := json.Marshal(f.v)
		if err != nil {
			return err
		}
		if err := s.out.write(f.name, int64(len(raw)), bytes.NewReader(raw)); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return s.out.Close()
}

func blobPath(d digest.Digest) string {
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded()
}

type tarOutput struct {
	mu   sync.Mutex // a tar takes one member at a time
	w    *tar.Writer
	dirs map[string]bool
}

// stamp is the time of every member: the same image is the same archive.
var stamp = time.Unix(0, 0)

func (t *tarOutput) write(name string, size int64, r io.Reader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.mkdir(path.Dir(name)); err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: stamp}
	if err := t.w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(t.w, r)
	return err
}

func (t *tarOutput) mkdir(dir string) error {
	if dir == "." || t.dirs[dir] {
		return nil
	}
	if err := t.mkdir(path.Dir(dir)); err != nil {
		return err
	}
	t.dirs[dir] = true
	return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: stamp})
}

func (t *tarOutput) Close() error { return t.w.Close() }

type folderOutput struct{ dir string }

func (f folderOutput) write(name string, size int64, r io.Reader) (err error) {
	at := filepath.Join(f.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(file, r)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came, not %d", n, size)
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

func (folderOutput) Close() error { return nil }
