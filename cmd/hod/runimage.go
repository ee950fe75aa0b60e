//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/archive"
	"github.com/hodbuild/hod/registry"
	"github.com/hodbuild/hod/runner"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

// imageToRun finds the image that a word of run or create means, and what the
// container says it is of. A word that begins with "/", "." or ".." as a path
// does is a recipe's folder, which is built, or an OCI layout or an archive.
func imageToRun(c *cli.Context, s *layers.Store, word string) (*layers.Image, string, error) {
	p, err := parsePlatform(c.String("platform"))
	if err != nil {
		return nil, "", err
	}
	if filepath.IsAbs(word) || word == "." || word == ".." || strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../") {
		img, err := imageFromPath(c, s, word, p)
		return img, word, err
	}
	policy := c.String("pull")
	switch policy {
	case "", "missing", "never", "always":
	default:
		return nil, "", fmt.Errorf("--pull %q: it is missing, always or never", policy)
	}
	img, err := s.Resolve(word, p)
	if policy != "always" && err == nil {
		return img, word, layersToRun(c, s, img, policy)
	}
	if policy != "always" && (policy == "never" || !errors.Is(err, layers.ErrNotFound)) {
		return nil, "", err
	}
	n, perr := layers.ParseName(word)
	if perr != nil {
		return nil, "", errors.Join(err, perr)
	}
	t, err := newTransfer(c, "pulling "+n.Familiar())
	if err != nil {
		return nil, "", err
	}
	img, _, err = t.client.Pull(c.Context, s, n.String(), registry.PullOptions{Platform: p})
	t.view.Close()
	if err != nil {
		return nil, "", registryHint(err, n)
	}
	return img, word, nil
}

// mountedImages finds the images that are to be mounted, as the one to run is found.
func mountedImages(c *cli.Context, s *layers.Store, mounts []runner.MountSpec) error {
	for i := range mounts {
		m := &mounts[i]
		if m.Type != "image" {
			continue
		}
		img, _, err := imageToRun(c, s, m.Source)
		if err != nil {
			return fmt.Errorf("mount at %s: %w", m.Target, err)
		}
		m.ImageID = img.ID.String()
		for _, d := range img.Chain {
			m.Chain = append(m.Chain, d.String())
		}
	}
	return nil
}

// layersToRun makes sure that the layers of an image are here.
func layersToRun(c *cli.Context, s *layers.Store, img *layers.Image, policy string) error {
	if missing := s.Missing(img); policy == "never" && len(missing) > 0 {
		return fmt.Errorf("--pull never: layers of image %s were left in %s", shortID(string(img.ID)), strings.Join(missing[0].From, " and "))
	}
	return completeImages(c, s, img)
}

// imageFromPath builds the recipe in a folder, or loads a layout or an archive.
func imageFromPath(c *cli.Context, s *layers.Store, path string, p *ocispec.Platform) (*layers.Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", path, err)
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, ocispec.ImageLayoutFile)); errors.Is(err, os.ErrNotExist) {
			if err := enterForBuild(c, path); err != nil {
				return nil, err
			}
			return buildToRun(c, s, path, p)
		}
	}
	src, err := archive.Open(path)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", path, err)
	}
	defer src.Close()
	list, err := s.Load(c.Context, src)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", path, err)
	}
	if len(list) != 1 {
		return nil, withHint(fmt.Errorf("run %s: it holds %d images", path, len(list)), "hod load -i "+path+", then run one by its name")
	}
	return s.Resolve(list[0].Target.Digest.String(), p)
}

// buildToRun builds a folder's recipe. What the build says goes to standard
// error, as the output of hod build does.
func buildToRun(c *cli.Context, s *layers.Store, path string, p *ocispec.Platform) (*layers.Image, error) {
	v, err := buildView(c, "building "+path)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	o := builder.Options{Store: s, Images: newImageSource(s, shownClient(c, v)), Context: path}
	if p != nil {
		o.Platforms = []ocispec.Platform{*p}
	}
	res, err := shownBuild(c, s, v, o)
	if err != nil {
		return nil, err
	}
	if len(res.Images) != 1 {
		return nil, fmt.Errorf("run %s: the recipe gives %d images", path, len(res.Images))
	}
	return s.Resolve(res.Images[0].ID.String(), p)
}
