package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// UpdateFolder writes into a layout that may have images already: they stay, and
// a name that is given again moves. Blobs that are there and right are not
// written again, so that a copy that broke off goes on. The folder is made where
// there is none; one that is not empty must be a layout, or the beginning of one.
func UpdateFolder(dir string) (*Sink, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open layout: %w", err)
	}
	s := &Sink{out: updateOutput{dir}, have: map[digest.Digest]bool{}, folder: true, unique: true}
	raw, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, onlyBlobs(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open layout: %w", err)
	}
	var index ocispec.Index
	if len(raw) > maxJSON {
		return nil, fmt.Errorf("open layout %q: its index has %d bytes", dir, len(raw))
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("open layout %q: %w", dir, err)
	}
	s.index = index.Manifests
	return s, nil
}

// onlyBlobs refuses a folder that is somebody's.
func onlyBlobs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("open layout: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "blobs" && e.Name() != ocispec.ImageLayoutFile {
			return fmt.Errorf("folder %q is no layout and is not empty (it has %q)", dir, e.Name())
		}
	}
	return nil
}

// replace takes entries out of the list that a new one stands for: the same name,
// or the same manifest without a name.
func (s *Sink) replace(d ocispec.Descriptor) {
	if !s.unique {
		return
	}
	name := d.Annotations[ocispec.AnnotationRefName]
	s.index = slices.DeleteFunc(s.index, func(o ocispec.Descriptor) bool {
		other := o.Annotations[ocispec.AnnotationRefName]
		return other == name && (name != "" || o.Digest == d.Digest)
	})
}

// updateOutput writes each file aside and renames it into place.
type updateOutput struct{ dir string }

func (u updateOutput) write(name string, size int64, r io.Reader) (err error) {
	at := filepath.Join(u.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if filepath.Dir(name) != "." && right(at, filepath.Base(filepath.Dir(name)), filepath.Base(name), size) {
		return nil
	}
	f, err := os.CreateTemp(u.dir, ".hod-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	n, err := io.Copy(f, r)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came, not %d", n, size)
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), at)
	}
	return err
}

// right tells that a blob is there and has its digest.
func right(path, algorithm, hex string, size int64) bool {
	d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() || st.Size() != size || d.Validate() != nil {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	h := d.Algorithm().Hash()
	_, err = io.Copy(h, f)
	return err == nil && digest.NewDigest(d.Algorithm(), h) == d
}

func (updateOutput) Close() error { return nil }
