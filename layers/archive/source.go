package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hodbuild/hod/layers/compress"
)

// maxJSON bounds each JSON document, as registries bound manifests.
const maxJSON = 4 << 20

// Item is one image, or one index of images, of a source.
type Item struct {
	Names []string // as the archive has them: none, "app:v1" or full
	// Target is the manifest or index; its Digest is empty in a Docker archive,
	// which has Config and Layers, paths for File.
	Target ocispec.Descriptor
	Config string
	Layers []string
}

// Source is an open layout or archive. It is safe for concurrent use.
type Source struct {
	files files
	items []Item
}

// ErrFormat tells that a file is neither a layout nor an archive of images.
var ErrFormat = errors.New("neither an OCI layout nor a Docker archive")

// Open opens a folder, or a tar that may be compressed. The caller closes the
// source.
func Open(name string) (*Source, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	if st.IsDir() {
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, fmt.Errorf("open layout: %w", err)
		}
		return newSource(folder{root}, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	defer f.Close()
	return Read(f, name)
}

// Read takes an archive from r, which may be a pipe: what cannot be sought or is
// compressed is written into an unnamed temporary file first. name is for errors.
func Read(r io.Reader, name string) (*Source, error) {
	f, err := spool(r)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("it is cut off: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read archive %q: %w", name, err)
	}
	p, err := scan(f)
	if err != nil {
		f.Close()
		if errors.Is(err, tar.ErrHeader) {
			err = fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return nil, fmt.Errorf("read archive %q: %w", name, err)
	}
	return newSource(p, name)
}

// spool gives a file of one's own with the plain tar in it.
func spool(r io.Reader) (*os.File, error) {
	if f, ok := r.(*os.File); ok {
		var magic [4]byte
		n, err := f.ReadAt(magic[:], 0)
		if (err == nil || err == io.EOF) && isPlain(magic[:n]) {
			return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		}
	}
	z, _, err := compress.NewReader(r)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	f, err := os.CreateTemp("", "hod-archive-")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		_, err = io.Copy(f, z)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// isPlain tells that a file begins like none of the compressed formats: a tar
// begins with a name.
func isPlain(magic []byte) bool {
	for _, m := range []string{"\x1f\x8b", "\x28\xb5\x2f\xfd", "BZh", "\xfd7zX"} {
		if bytes.HasPrefix(magic, []byte(m)) {
			return false
		}
	}
	return true
}

func newSource(f files, name string) (*Source, error) {
	s := &Source{files: f}
	err := s.list()
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: it has no index.json or manifest.json", ErrFormat)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open archive %q: %w", name, err)
	}
	return s, nil
}

// Items lists what the source's own index names.
func (s *Source) Items() []Item { return s.items }

// Close closes the file or folder.
func (s *Source) Close() error { return s.files.Close() }

// File opens a file of the archive by its path, unverified.
func (s *Source) File(name string) (io.ReadCloser, int64, error) {
	if !fs.ValidPath(name) {
		return nil, 0, fmt.Errorf("open %q: it leads out of the archive", name)
	}
	return s.files.open(name)
}

// Blob opens a blob. Its last Read fails when size or digest differ from desc.
func (s *Source) Blob(desc ocispec.Descriptor) (io.ReadCloser, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("open blob %q: %w", desc.Digest, err)
	}
	f, size, err := s.files.open("blobs/" + desc.Digest.Algorithm().String() + "/" + desc.Digest.Encoded())
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", desc.Digest, err)
	}
	if size != desc.Size {
		f.Close()
		return nil, fmt.Errorf("open blob %s: it has %d bytes, not %d", desc.Digest, size, desc.Size)
	}
	return &verified{ReadCloser: f, h: desc.Digest.Algorithm().Hash(), want: desc.Digest}, nil
}

// Read reads a small blob whole and verified: a manifest, index or config.
func (s *Source) Read(desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > maxJSON {
		return nil, fmt.Errorf("read %s: %d bytes are more than %d", desc.Digest, desc.Size, maxJSON)
	}
	r, err := s.Blob(desc)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// ReadFile reads a JSON file of the archive whole, bounded.
func (s *Source) ReadFile(name string) ([]byte, error) {
	r, size, err := s.File(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > maxJSON {
		return nil, fmt.Errorf("read %q: %d bytes are more than %d", name, size, maxJSON)
	}
	return io.ReadAll(r)
}

// verified hashes what passes and compares at the end.
type verified struct {
	io.ReadCloser
	h    hash.Hash
	want digest.Digest
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.h.Write(p[:n])
	if err == io.EOF {
		if got := digest.NewDigest(v.want.Algorithm(), v.h); got != v.want {
			return n, fmt.Errorf("blob %s: its bytes have the digest %s", v.want, got)
		}
	}
	return n, err
}

// list reads index.json, else manifest.json.
func (s *Source) list() error {
	docker, dockerErr := s.dockerItems()
	if _, err := s.ReadFile("oci-layout"); err != nil {
		s.items = docker
		return dockerErr
	}
	raw, err := s.ReadFile("index.json")
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return fmt.Errorf("parse index.json: %w", err)
	}
	at := map[digest.Digest]int{}
	for _, d := range index.Manifests {
		i, seen := at[d.Digest]
		if !seen {
			i = len(s.items)
			at[d.Digest] = i
			s.items = append(s.items, Item{Target: d})
		}
		if n := nameOf(d); n != "" {
			s.items[i].Names = append(s.items[i].Names, n)
		}
	}
	if len(s.items) == 1 && len(docker) == 1 && len(s.items[0].Names) == 0 {
		s.items[0].Names = docker[0].Names // written by a tool that names there only
	}
	return nil
}

// nameOf is the name in an entry of index.json: containerd's is full; the
// specification's may be a bare tag, which names nothing by itself.
func nameOf(d ocispec.Descriptor) string {
	if n := d.Annotations["io.containerd.image.name"]; n != "" {
		return n
	}
	if n := d.Annotations[ocispec.AnnotationRefName]; strings.ContainsAny(n, "/:") {
		return n
	}
	return ""
}

func (s *Source) dockerItems() ([]Item, error) {
	raw, err := s.ReadFile("manifest.json")
	if err != nil {
		return nil, err
	}
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("parse manifest.json: %w", err)
	}
	items := make([]Item, 0, len(list))
	for _, m := range list {
		items = append(items, Item{Names: m.RepoTags, Config: m.Config, Layers: m.Layers})
	}
	return items, nil
}
