package corpus

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is what a build left, read by nothing that hod is made of.
type Image struct {
	ID       string         // digest of the configuration
	Manifest string         // digest of the manifest
	Document map[string]any // the whole configuration
	Layers   []string       // diffIDs
	Tree     Tree
	empty    []bool // layers that hold nothing
}

// Reader reads images. It keeps the layers that it has seen, since most cases share a base.
type Reader struct {
	mu   sync.Mutex
	seen map[string][]Entry // by diffID
}

// NewReader returns a Reader.
func NewReader() *Reader { return &Reader{seen: map[string][]Entry{}} }

// Archive reads the images of an OCI layout in a tar, one for each platform.
func (r *Reader) Archive(file string) ([]*Image, error) {
	blobs, err := Files(file)
	if err != nil {
		return nil, err
	}
	return r.images(blobs)
}

// Files reads the regular files of a tar.
func Files(file string) (map[string][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	files, err := readFiles(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return files, nil
}

// Base reads the images of a base.
func (r *Reader) Base(b Base) ([]*Image, error) {
	blobs, err := readFiles(bytes.NewReader(b.Archive))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", b.Name, err)
	}
	return r.images(blobs)
}

func (r *Reader) images(blobs map[string][]byte) ([]*Image, error) {
	var images []*Image
	var visit func(raw []byte) error
	visit = func(raw []byte) error {
		var index ocispec.Index
		if err := json.Unmarshal(raw, &index); err != nil {
			return fmt.Errorf("read index: %w", err)
		}
		for _, d := range index.Manifests {
			if d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
				continue
			}
			raw := blobs[blobPath(string(d.Digest))]
			if d.MediaType == ocispec.MediaTypeImageIndex || strings.Contains(d.MediaType, "manifest.list") {
				if err := visit(raw); err != nil {
					return err
				}
				continue
			}
			img, err := r.image(blobs, raw)
			if err != nil {
				return err
			}
			img.Manifest = string(d.Digest)
			images = append(images, img)
		}
		return nil
	}
	return images, visit(blobs["index.json"])
}

func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// readFiles reads a tar's regular files.
func readFiles(f io.Reader) (map[string][]byte, error) {
	files := map[string][]byte{}
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if files[path.Clean(h.Name)], err = io.ReadAll(tr); err != nil {
			return nil, err
		}
	}
}

func (r *Reader) image(blobs map[string][]byte, raw []byte) (*Image, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	img := &Image{ID: string(m.Config.Digest)}
	config := blobs[blobPath(img.ID)]
	var doc struct {
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if err := errors.Join(json.Unmarshal(config, &img.Document), json.Unmarshal(config, &doc)); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(doc.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("%d layers and %d diffIDs", len(m.Layers), len(doc.RootFS.DiffIDs))
	}
	var layers [][]Entry
	for i, d := range m.Layers {
		id := string(doc.RootFS.DiffIDs[i])
		entries, err := r.layer(id, blobs[blobPath(string(d.Digest))])
		if err != nil {
			return nil, err
		}
		img.Layers, layers, img.empty = append(img.Layers, id), append(layers, entries), append(img.empty, len(entries) == 0)
	}
	img.Tree = flatten(layers)
	return img, nil
}

func (r *Reader) layer(id string, blob []byte) ([]Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if list, ok := r.seen[id]; ok {
		return list, nil
	}
	var in io.Reader = bytes.NewReader(blob)
	if bytes.HasPrefix(blob, []byte{0x1f, 0x8b}) {
		plain, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		in = plain
	}
	list, err := readTar(in)
	r.seen[id] = list
	return list, err
}

// Platform is what the image is for: os/architecture[/variant].
func (img *Image) Platform() string {
	p := fmt.Sprintf("%v/%v", img.Document["os"], img.Document["architecture"])
	if v, ok := img.Document["variant"]; ok {
		p += fmt.Sprintf("/%v", v)
	}
	return p
}

// StartsWith says whether the image is built on another one.
func (img *Image) StartsWith(base *Image) bool {
	return len(base.Layers) > 0 && len(img.Layers) >= len(base.Layers) && slices.Equal(img.Layers[:len(base.Layers)], base.Layers)
}

// top are the fields of a configuration that are compared besides those of its "config".
var top = []string{"architecture", "os", "variant", "author", "os.version"}

// ConfigSince is what the configuration says and the base's does not: fields of "config", and the few that stand
// beside it. Of Env, only the lines that are new. What the base has and the image has not is null.
func (img *Image) ConfigSince(base *Image) map[string]any {
	was, is, out := fields(base), fields(img), map[string]any{}
	for k, v := range is {
		if k == "Env" {
			v = newLines(was[k], v)
		}
		if v != nil && !reflect.DeepEqual(was[k], v) {
			out[k] = v
		}
	}
	for k := range was {
		if _, ok := is[k]; !ok {
			out[k] = nil
		}
	}
	return out
}

func fields(img *Image) map[string]any {
	out := map[string]any{}
	config, _ := img.Document["config"].(map[string]any)
	for k, v := range config {
		if s := fmt.Sprint(v); v != nil && s != "" && s != "[]" && s != "map[]" && s != "false" {
			out[k] = v
		}
	}
	for _, k := range top {
		if v, ok := img.Document[k]; ok {
			out[k] = v
		}
	}
	return out
}

func newLines(was, is any) any {
	old, _ := was.([]any)
	var list []any
	for _, line := range is.([]any) {
		if !slices.Contains(old, line) {
			list = append(list, line)
		}
	}
	if list == nil {
		return nil
	}
	return list
}

// HistorySince lists the lines of history after the base's. A layer in which there is nothing is none: BuildKit keeps
// those of steps that changed nothing, hod does not.
func (img *Image) HistorySince(base *Image) []string {
	was, is := history(base), history(img)
	if len(is) >= len(was) && slices.Equal(is[:len(was)], was) {
		is = is[len(was):]
	}
	return is
}

func history(img *Image) []string {
	list, _ := img.Document["history"].([]any)
	var lines []string
	layer := 0
	for _, each := range list {
		h, _ := each.(map[string]any)
		mark := "- "
		if h["empty_layer"] != true {
			if layer >= len(img.empty) || !img.empty[layer] {
				mark = "+ "
			}
			layer++
		}
		lines = append(lines, mark+strings.ReplaceAll(fmt.Sprint(h["created_by"]), "\n", `\n`))
	}
	return lines
}
