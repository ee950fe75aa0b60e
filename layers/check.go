package layers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
)

// CheckOptions of Check.
type CheckOptions struct {
	// Repair drops what is damaged: what can be made or fetched again comes back
	// when it is next needed.
	Repair bool
}

// Problem is one thing that is not as it should be.
type Problem struct {
	Object   string // a name, or a kind and a digest
	What     string
	Repaired bool
	Remedy   string // what to do about it; empty when repaired
}

// CheckReport of Check.
type CheckReport struct {
	Blobs, Layers, Images, References int
	Bytes                             int64 // hashed
	Problems                          []Problem
}

// Check re-hashes every blob and tar, and follows every name. It is safe beside
// other processes: what vanishes meanwhile is no problem.
func (s *Store) Check(ctx context.Context, o CheckOptions) (CheckReport, error) {
	c := &checker{s: s, o: o, forgotten: map[digest.Digest]bool{}}
	for _, step := range []func(context.Context) error{c.blobs, c.layers, c.images, c.references} {
		if err := step(ctx); err != nil {
			return c.r, fmt.Errorf("check store: %w", err)
		}
	}
	return c.r, nil
}

type checker struct {
	s *Store
	o CheckOptions
	r CheckReport

	forgotten map[digest.Digest]bool // images that were told of
}

// found notes a problem; fix, if there is one, is tried under Repair.
func (c *checker) found(object, what, remedy string, fix func() error) error {
	p := Problem{Object: object, What: what, Remedy: remedy}
	if c.o.Repair && fix != nil {
		if err := fix(); err != nil {
			return err
		}
		p.Repaired = true
	}
	c.r.Problems = append(c.r.Problems, p)
	return nil
}

// each visits the objects of a kind on both shelves.
func (c *checker) each(ctx context.Context, kind string, check func(candidate) error) error {
	boot, err := c.s.bootID()
	if err != nil {
		return err
	}
	for _, dir := range []string{c.s.path(kind), c.s.path("boot", boot, kind)} {
		for alg := range digestSize {
			var failed error
			err := objectsIn(ctx, filepath.Join(dir, alg), alg, false, func(o candidate) {
				if failed == nil {
					failed = check(o)
				}
			})
			if err = errors.Join(err, ignoreMissing(failed)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) blobs(ctx context.Context) error {
	return c.each(ctx, "blobs", func(o candidate) error {
		c.r.Blobs++
		got, _, err := c.hash(ctx, o.path, o.d.Algorithm())
		if err != nil || got == o.d {
			return err
		}
		return c.found("blob "+string(o.d), "its bytes have digest "+string(got), "pull or push the image again",
			func() error { return c.s.throw(o.path) })
	})
}

func (c *checker) hash(ctx context.Context, path string, alg digest.Algorithm) (digest.Digest, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := alg.Hash()
	n, err := copyContext(ctx, h, io.Reader(f))
	c.r.Bytes += n
	return digest.NewDigest(alg, h), n, err
}

func (c *checker) layers(ctx context.Context) error {
	return c.each(ctx, "layers", func(o candidate) error {
		c.r.Layers++
		if err := errors.Join(c.tar(ctx, o), c.tree(ctx, o)); err != nil {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(o.path, "info"))
		var rec layerRecord
		if err == nil {
			err = json.Unmarshal(raw, &rec)
		}
		if err != nil {
			if !c.s.has(o.path) {
				return nil
			}
			return c.found("layer "+string(o.d), "its record cannot be read", "pull or build the image again", func() error { return c.s.throw(o.path) })
		}
		switch {
		case !c.s.whole(o.d) && c.s.has(o.path):
			return c.found("layer "+string(o.d), "no form of it is left", "pull or build the image again", func() error { return c.s.throw(o.path) })
		case rec.Packed == "" && !c.s.sourced(o.d) && c.s.has(o.path):
			return c.found("layer "+string(o.d), "only its tree is left: it runs, and cannot be pushed or saved", "pull or load the image again", nil)
		}
		return nil
	})
}

// tar checks a layer's tar form.
func (c *checker) tar(ctx context.Context, o candidate) error {
	path := filepath.Join(o.path, "tar")
	got, _, err := c.hash(ctx, path, o.d.Algorithm())
	if err != nil || got == o.d {
		return ignoreMissing(err)
	}
	return c.found("layer "+string(o.d), "its tar has digest "+string(got), "build the image again", func() error { return c.s.throw(path) })
}

// tree checks the shared tree of a layer against its index. One that is the only
// form of a layer takes the layer with it.
func (c *checker) tree(ctx context.Context, o candidate) error {
	root, err := c.s.openTree(o.d)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	l, err := openLayerDir(o.path, o.d)
	if err != nil {
		return skipMissing(err)
	}
	defer l.Close()
	x, err := l.index()
	if err != nil {
		return skipMissing(err)
	}
	n, what, err := diff.CheckTree(ctx, x, root)
	c.r.Bytes += n
	if err != nil || what == "" || !c.s.has(o.path) {
		return err
	}
	return c.found("layer "+string(o.d), "its tree has changed: "+what, "pull or build the image again", func() error { return c.s.dropTree(o.d) })
}

// dropTree throws a damaged tree away.
func (s *Store) dropTree(d digest.Digest) error {
	path, _, err := s.find("trees", d)
	if err != nil {
		return skipMissing(err)
	}
	return s.throw(path)
}

// skipMissing is for what another process may have removed meanwhile.
func skipMissing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// whole tells whether a layer can be had in some form.
func (s *Store) whole(d digest.Digest) bool {
	_, _, err := s.find("layers", d)
	return err == nil && s.hasTree(d) || s.sourced(d)
}

// sourced tells whether a layer's tar is here, perhaps compressed.
func (s *Store) sourced(d digest.Digest) bool {
	l, err := s.openLayer(d)
	if err != nil {
		return false
	}
	defer l.Close()
	if l.has("tar") {
		return true
	}
	forms, err := l.forms()
	for _, f := range forms {
		if _, _, ferr := s.find("blobs", f.Descriptor.Digest); ferr == nil && err == nil {
			return true
		}
	}
	return false
}

// Whole tells whether all of an image is there: its config, its record, every layer in some form, and the blobs of the
// manifest that it came with. What is known to be elsewhere counts as there.
func (s *Store) Whole(img *Image) bool {
	if img.Manifest != nil {
		if _, err := s.wholeManifest(img.Manifest.Digest, img.Origins); err != nil {
			return false
		}
	}
	if _, _, err := s.find("blobs", img.ID); err != nil || !s.has(s.imagePath(img.ID)) {
		return false
	}
	for _, d := range img.Chain {
		if _, away := origin(img.Origins, d); !away && !s.whole(d) {
			return false
		}
	}
	return true
}

func (s *Store) hasTree(d digest.Digest) bool {
	_, _, err := s.find("trees", d)
	return err == nil
}

func (c *checker) images(ctx context.Context) error {
	return objectsInEach(ctx, c.s.path("images/ids"), func(o candidate) error {
		c.r.Images++
		object := "image " + string(o.d)
		forget := func() error {
			c.forgotten[o.d] = true
			return os.Remove(o.path)
		}
		raw, err := c.s.peek(o.d)
		if err == nil && raw == nil {
			err = fmt.Errorf("it is too large")
		}
		var chain Chain
		if err == nil {
			_, chain, err = parseConfig(raw)
		}
		var rec imageRecord
		if err == nil {
			rec, err = c.s.readImageRecord(o.d)
		}
		if err != nil {
			if !c.s.has(o.path) {
				return nil
			}
			return c.found(object, "its config cannot be read: "+err.Error(), "pull or build it again", forget)
		}
		for _, d := range chain {
			if _, away := origin(rec.Origins, d); !away && !c.s.whole(d) && c.s.has(o.path) {
				return c.found(object, "layer "+string(d)+" is missing", "pull or build it again", forget)
			}
		}
		return nil
	})
}

func objectsInEach(ctx context.Context, dir string, check func(candidate) error) error {
	var failed error
	err := objectsIn(ctx, dir, "sha256", true, func(o candidate) {
		if failed == nil {
			failed = check(o)
		}
	})
	return errors.Join(err, ignoreMissing(failed))
}

// references follows every name. A name is never dropped by repair: it is what
// the user asked for, and pulling or building gives it a meaning again.
func (c *checker) references(ctx context.Context) error {
	entries, err := os.ReadDir(c.s.path("images/refs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := c.s.path("images/refs", e.Name())
		ref, err := readReference(path)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		c.r.References++
		if err != nil {
			err = c.found("reference "+e.Name(), "it cannot be read", "tag the image again", func() error { return c.s.throw(path) })
		} else if _, _, ferr := c.s.find("blobs", ref.Target.Digest); ferr != nil && c.s.has(path) {
			err = c.found("name "+ref.Name, "it names "+string(ref.Target.Digest)+", which is missing", "pull or build it again", nil)
		} else if id := c.s.imageOf(ref.Target.Digest); id != "" && !c.forgotten[id] && !c.s.has(c.s.imagePath(id)) && c.s.has(path) {
			err = c.found("name "+ref.Name, "the record of its image is missing", "pull, load or build it again", nil)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// imageOf is the image that a manifest or a config makes, "" where it is something else.
func (s *Store) imageOf(d digest.Digest) digest.Digest {
	raw, err := s.peek(d)
	if err != nil {
		return ""
	}
	if m, err := ParseManifest("", raw); err == nil {
		if m.IsIndex() || !isImage(m) {
			return ""
		}
		return m.Config.Digest
	}
	if _, _, err := parseConfig(raw); err != nil {
		return ""
	}
	return d
}
