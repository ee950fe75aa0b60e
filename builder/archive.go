package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutFile is one file of an OCI layout: bytes at hand, or a blob of the store.
type layoutFile struct {
	name string
	data []byte
	blob digest.Digest
	size int64
}

// layout lists the files of an OCI layout of the result, in order. Type docker has a manifest.json more, by which docker load
// and older tools find image and names.
func (b *build) layout(top ocispec.Descriptor, raw []byte, names []string, out Output) ([]layoutFile, error) {
	files := map[digest.Digest]layoutFile{}
	var saved []dockerSaved
	var visit func(d ocispec.Descriptor, raw []byte) error
	visit = func(d ocispec.Descriptor, raw []byte) error {
		files[d.Digest] = layoutFile{data: raw, size: int64(len(raw))}
		m, err := layers.ParseManifest(d.MediaType, raw)
		if err != nil {
			return err
		}
		for _, child := range m.Manifests {
			text, err := b.o.Store.ReadManifest(child.Digest)
			if err != nil {
				return err
			}
			if err := visit(child, text); err != nil {
				return err
			}
		}
		if m.IsIndex() {
			return nil
		}
		one := dockerSaved{Config: blobName(m.Config.Digest), RepoTags: names}
		for _, l := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
			files[l.Digest] = layoutFile{blob: l.Digest, size: l.Size}
		}
		for _, l := range m.Layers {
			one.Layers = append(one.Layers, blobName(l.Digest))
		}
		saved = append(saved, one)
		return nil
	}
	if err := visit(top, raw); err != nil {
		return nil, err
	}
	var list []layoutFile
	for d, f := range files {
		f.name = blobName(d)
		list = append(list, f)
	}
	manifests := named(top, names)
	if out.Folder {
		others, err := beside(out.Dest, manifests)
		if err != nil {
			return nil, err
		}
		manifests = append(others, manifests...)
	}
	index, err := json.Marshal(ocispec.Index{Versioned: versioned, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests})
	if err != nil {
		return nil, err
	}
	list = append(list, layoutFile{name: "oci-layout", data: []byte(`{"imageLayoutVersion":"1.0.0"}`)}, layoutFile{name: "index.json", data: index})
	if out.Type == "docker" {
		text, err := json.Marshal(saved)
		if err != nil {
			return nil, err
		}
		list = append(list, layoutFile{name: "manifest.json", data: text})
	}
	slices.SortFunc(list, func(a, b layoutFile) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

// dockerSaved is an entry of a docker archive's manifest.json.
type dockerSaved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func blobName(d digest.Digest) string { return path.Join("blobs", d.Algorithm().String(), d.Encoded()) }

// named is the descriptors of a layout's index: one for each name.
func named(top ocispec.Descriptor, names []string) []ocispec.Descriptor {
	if len(names) == 0 {
		return []ocispec.Descriptor{top}
	}
	var list []ocispec.Descriptor
	for _, full := range names {
		d := top
		tag := full[strings.LastIndexByte(full, ':')+1:]
		d.Annotations = map[string]string{imageName: full, ocispec.AnnotationRefName: tag}
		maps.Copy(d.Annotations, top.Annotations)
		list = append(list, d)
	}
	return list
}

// imageName is the annotation of a layout's index that has an image's name in full.
const imageName = "io.containerd.image.name"

// beside lists what a folder's layout holds already, without what is to take its place: the same name, or the same image
// without one.
func beside(dir string, ours []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	raw, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var index ocispec.Index
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil {
		return nil, fmt.Errorf("read the layout that is in %q: %w", dir, err)
	}
	return slices.DeleteFunc(index.Manifests, func(old ocispec.Descriptor) bool {
		return slices.ContainsFunc(ours, func(d ocispec.Descriptor) bool {
			return d.Annotations[imageName] == old.Annotations[imageName] && (d.Annotations[imageName] != "" || d.Digest == old.Digest)
		})
	}), nil
}

// writeLayout writes the layout as a folder or as one tar, whose bytes depend on the image alone.
func (b *build) writeLayout(ctx context.Context, files []layoutFile, out Output) error {
	if out.Folder {
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return err
			}
			name := filepath.Join(out.Dest, filepath.FromSlash(f.name))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
			if err := lockfile.Replace(name, func(w io.Writer) error { return b.content(f, w) }); err != nil {
				return err
			}
		}
		return nil
	}
	write := func(w io.Writer) error {
		tw := tar.NewWriter(w)
		made := map[string]bool{}
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return err
			}
			for _, dir := range []string{"blobs", path.Dir(f.name)} {
				if dir == "." || made[dir] || !strings.HasPrefix(f.name, dir+"/") {
					continue
				}
				made[dir] = true
				if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: ops.Epoch}); err != nil {
					return err
				}
			}
			size := f.size
			if f.blob == "" {
				size = int64(len(f.data))
			}
			if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: size, ModTime: ops.Epoch}); err != nil {
				return err
			}
			if err := b.content(f, tw); err != nil {
				return err
			}
		}
		return tw.Close()
	}
	if out.Dest == "-" {
		return write(out.Stdout)
	}
	return lockfile.Replace(out.Dest, write)
}

// content writes a file's bytes, verified.
func (b *build) content(f layoutFile, w io.Writer) error {
	if f.blob == "" {
		_, err := io.Copy(w, bytes.NewReader(f.data))
		return err
	}
	blob, err := b.o.Store.OpenBlob(f.blob)
	if err != nil {
		return err
	}
	r := blob.Verified()
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("read blob %s: %w", f.blob, err)
	}
	return nil
}
