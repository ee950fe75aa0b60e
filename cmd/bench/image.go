package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/cmd/bench/tree"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// source is an image that the peers begin with: an OCI layout made here, with
// layers as registries have them (gzip -6), and what is in it.
type source struct {
	layout string
	tars   []string // the layers, not compressed
	blobs  []string // the digests of config and layers, in hexadecimal
	tree   tree.Tree
}

// makeImage makes the layout of an image of these layers.
func makeImage(dir string, tars []string) (*source, error) {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, err
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	img := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: architecture()},
		Config:   ocispec.ImageConfig{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, Cmd: []string{"true"}},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	for _, path := range tars {
		d, id, err := compressLayer(dir, path)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, d)
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, id)
		img.History = append(img.History, ocispec.History{CreatedBy: "bench"})
	}
	var err error
	if m.Config, err = putJSON(dir, ocispec.MediaTypeImageConfig, img); err != nil {
		return nil, err
	}
	top, err := putJSON(dir, ocispec.MediaTypeImageManifest, m)
	if err != nil {
		return nil, err
	}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{top}})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644); err != nil {
		return nil, err
	}
	made := &source{layout: dir, tars: tars}
	for _, d := range append(m.Layers, m.Config) {
		made.blobs = append(made.blobs, d.Digest.Encoded())
	}
	made.tree, err = tree.OfImage(dir, dir)
	return made, err
}

// compressLayer writes one layer's blob.
func compressLayer(dir, path string) (d ocispec.Descriptor, diffID digest.Digest, err error) {
	in, err := os.Open(path)
	if err != nil {
		return d, "", err
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(dir, "blob"))
	if err != nil {
		return d, "", err
	}
	defer out.Close()
	plain, packed := digest.Canonical.Digester(), digest.Canonical.Digester()
	z := gzip.NewWriter(io.MultiWriter(out, packed.Hash()))
	if _, err := io.Copy(io.MultiWriter(z, plain.Hash()), in); err != nil {
		return d, "", err
	}
	if err := z.Close(); err != nil {
		return d, "", err
	}
	info, err := out.Stat()
	if err != nil {
		return d, "", err
	}
	d = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: packed.Digest(), Size: info.Size()}
	return d, plain.Digest(), os.Rename(out.Name(), blobFile(dir, d))
}

func putJSON(dir, media string, v any) (ocispec.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := descriptor(media, b)
	return d, os.WriteFile(blobFile(dir, d), b, 0o644)
}

func descriptor(media string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: media, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

func blobFile(layout string, d ocispec.Descriptor) string {
	return filepath.Join(layout, "blobs", "sha256", d.Digest.Encoded())
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// baseTar is a root file system of busybox.
func baseTar(path string) (err error) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("the base is made of busybox-static: %w", err)
	}
	names, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	var headers []*tar.Header
	for _, d := range []string{"bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"} {
		headers = append(headers, &tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755})
	}
	headers = append(headers,
		&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(busybox))},
		&tar.Header{Name: "etc/passwd", Mode: 0o644, Size: int64(len(passwd))})
	for name := range strings.FieldsSeq(string(names)) {
		if name != "busybox" {
			headers = append(headers, &tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777})
		}
	}
	content := map[string][]byte{"bin/busybox": busybox, "etc/passwd": []byte(passwd)}
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(content[h.Name]); err != nil {
			return err
		}
	}
	return w.Close()
}

const passwd = "root:x:0:0:root:/root:/bin/sh\n"

// folderTar packs a folder as root's, below at.
func folderTar(path, dir, at string) error {
	cmd := exec.Command("tar", "--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--mtime=@0", "--format=gnu",
		"--transform=s,^\\.,"+at+",S", "-C", dir, "-cf", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	return nil
}
