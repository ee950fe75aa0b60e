package tree

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// OfImage reads the flattened file system of an image: an OCI layout (a folder
// or a tar of one) or a Docker archive. scratch is a folder for its own use.
func OfImage(path, scratch string) (Tree, error) {
	img, err := open(path, scratch)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", path, err)
	}
	r := mutate.Extract(img)
	defer r.Close()
	return OfTar(r)
}

func open(path, scratch string) (v1.Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openLayout(path)
	}
	dir := filepath.Join(scratch, "layout")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if out, err := exec.Command("tar", "-C", dir, "-xf", path).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("tar: %w: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "index.json")); err == nil {
		return openLayout(dir)
	}
	return tarball.ImageFromPath(path, nil)
}

func openLayout(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	return first(index)
}

// first is the first image that is one, and no attestation.
func first(index v1.ImageIndex) (v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range m.Manifests {
		if d.MediaType.IsIndex() {
			below, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			return first(below)
		}
		if d.Platform == nil || d.Platform.OS != "unknown" {
			return index.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("no image in the index")
}
