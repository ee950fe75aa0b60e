package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/compress"
	"github.com/hodbuild/hod/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

// cacheSpec is one --cache-from or --cache-to.
type cacheSpec struct {
	text, kind string
	at         map[string]string
	used       map[string]bool
}

func readCacheSpec(text string) (cacheSpec, error) {
	s := cacheSpec{text: text, at: map[string]string{}, used: map[string]bool{}}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return s, err
	}
	if len(fields) == 1 && !strings.Contains(text, "=") {
		fields = []string{"type=registry", "ref=" + text}
		if text == "inline" {
			fields = []string{"type=inline"}
		}
	}
	for _, f := range fields {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			return s, fmt.Errorf("%q is not NAME=VALUE", f)
		}
		s.at[strings.ToLower(strings.TrimSpace(name))] = value
	}
	s.kind = s.take("type")
	switch s.kind {
	case "registry", "local", "inline":
		return s, nil
	case "":
		return s, errors.New("it has no type=")
	case "gha", "s3", "azblob":
		return s, fmt.Errorf("type=%s is a service that hod does not speak to: use type=registry or type=local", s.kind)
	}
	return s, fmt.Errorf("type %q is not known: use registry, local or inline", s.kind)
}

// take gives an attribute's value, and counts it as understood.
func (s cacheSpec) take(name string) string {
	s.used[name] = true
	return s.at[name]
}

// need is take for an attribute without which nothing can be done.
func (s cacheSpec) need(name string) (string, error) {
	if v := s.take(name); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("type=%s needs %s=", s.kind, name)
}

// flag takes an attribute that is true or false.
func (s cacheSpec) flag(name string, otherwise bool) (bool, error) {
	v := s.take(name)
	if v == "" {
		return otherwise, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("%s=%s is neither true nor false", name, v)
	}
	return on, nil
}

// rest is an error where an attribute was not understood.
func (s cacheSpec) rest() error {
	for name := range s.at {
		if !s.used[name] {
			return fmt.Errorf("attribute %q is not known for type=%s", name, s.kind)
		}
	}
	return nil
}

// buildCaches reads --cache-from and --cache-to.
func buildCaches(c *cli.Context, store *layers.Store, client *registry.Client, o *builder.Options) error {
	for _, text := range c.StringSlice("cache-from") {
		from, err := readCacheSource(text, client, store)
		if err != nil {
			return fmt.Errorf("--cache-from %q: %w", text, err)
		}
		o.CacheFrom = append(o.CacheFrom, from)
	}
	for _, text := range c.StringSlice("cache-to") {
		if err := addCacheTarget(text, client, store, o); err != nil {
			return fmt.Errorf("--cache-to %q: %w", text, err)
		}
	}
	if v := o.Args["BUILDKIT_INLINE_CACHE"]; v != "" {
		on, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("BUILDKIT_INLINE_CACHE=%s is neither true nor false", v)
		}
		o.InlineCache = o.InlineCache || on
	}
	return nil
}

func readCacheSource(text string, client *registry.Client, store *layers.Store) (builder.CacheSource, error) {
	from := builder.CacheSource{Name: text}
	s, err := readCacheSpec(text)
	if err != nil {
		return from, err
	}
	switch s.kind {
	case "local":
		dir, err := s.need("src")
		if err != nil {
			return from, err
		}
		from.Origin = builder.CacheFolder{Dir: dir, Tag: s.take("tag")}
	default: // the cache inside an image is found as the one beside it
		ref, err := s.need("ref")
		if err != nil {
			return from, err
		}
		if _, err := layers.ParseName(ref); err != nil {
			return from, err
		}
		from.Origin = &registryCache{client: client, store: store, ref: ref}
	}
	return from, s.rest()
}

func addCacheTarget(text string, client *registry.Client, store *layers.Store, o *builder.Options) error {
	s, err := readCacheSpec(text)
	if err != nil {
		return err
	}
	to := builder.CacheTarget{Name: text}
	mode := s.take("mode")
	switch mode {
	case "", "min":
	case "max":
		to.Max = true
	default:
		return fmt.Errorf("mode=%s is neither min nor max", mode)
	}
	if s.kind == "inline" {
		if to.Max {
			return errors.New("a cache inside the image holds the image's own steps: mode=max needs type=registry or type=local")
		}
		o.InlineCache = true
		return s.rest()
	}
	if err := s.options(&to); err != nil {
		return err
	}
	switch s.kind {
	case "local":
		dir, err := s.need("dest")
		if err != nil {
			return err
		}
		to.Sink = builder.CacheFolder{Dir: dir, Tag: s.take("tag")}
	case "registry":
		ref, err := s.need("ref")
		if err != nil {
			return err
		}
		if _, err := layers.ParseName(ref); err != nil {
			return err
		}
		to.Sink = &registryCache{client: client, store: store, ref: ref, write: true}
	}
	o.CacheTo = append(o.CacheTo, to)
	return s.rest()
}

// options reads the attributes that all exports have. Those that ask for what hod does anyway are taken.
func (s cacheSpec) options(to *builder.CacheTarget) (err error) {
	if to.IgnoreErrors, err = s.flag("ignore-error", false); err != nil {
		return err
	}
	if to.Force, err = s.flag("force-compression", false); err != nil {
		return err
	}
	for _, name := range []string{"oci-mediatypes", "image-manifest"} {
		on, err := s.flag(name, true)
		if err != nil {
			return err
		}
		if !on {
			return fmt.Errorf("%s=false: the cache is an OCI image manifest, which every registry takes", name)
		}
	}
	to.Compression, err = readCompression(s.take("compression"), s.take("compression-level"))
	return err
}

// readCompression reads a compression's name and level; both may be empty.
func readCompression(name, level string) (compress.Spec, error) {
	spec := compress.Spec{Algorithm: compress.Algorithm(name)}
	if name == "uncompressed" {
		spec.Algorithm = compress.None
	}
	if level != "" {
		n, err := strconv.Atoi(level)
		if err != nil {
			return spec, fmt.Errorf("compression-level %q is not a number", level)
		}
		if spec.Level = n; spec.Algorithm == "" {
			spec.Algorithm = compress.Gzip
		}
	}
	if spec.Algorithm == "" {
		return spec, nil
	}
	return spec, spec.Validate()
}

// registryCache is a cache in a registry, which is spoken to when it is first needed.
type registryCache struct {
	client *registry.Client
	store  *layers.Store
	ref    string
	write  bool

	mu   sync.Mutex // guards repo
	repo *registry.Repository
}

func (r *registryCache) open(ctx context.Context) (*registry.Repository, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.repo != nil {
		return r.repo, nil
	}
	repo, err := r.client.Repository(ctx, r.store, r.ref, r.write)
	r.repo = repo
	return repo, err
}

// Repository is where its blobs are for later.
func (r *registryCache) Repository() string {
	n, err := layers.ParseName(r.ref)
	if err != nil {
		return ""
	}
	return n.Registry + "/" + n.Repository
}

// Resolve reads the manifest of the cache.
func (r *registryCache) Resolve(ctx context.Context) ([]byte, error) {
	repo, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	return repo.Resolve(ctx)
}

// Open reads a blob of the cache.
func (r *registryCache) Open(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	repo, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	return repo.Open(ctx, d)
}

// Put sends a blob.
func (r *registryCache) Put(ctx context.Context, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	repo, err := r.open(ctx)
	if err != nil {
		return err
	}
	return repo.Put(ctx, d, open)
}

// Publish names the cache.
func (r *registryCache) Publish(ctx context.Context, d ocispec.Descriptor, raw []byte) error {
	repo, err := r.open(ctx)
	if err != nil {
		return err
	}
	return repo.Publish(ctx, d, raw)
}
