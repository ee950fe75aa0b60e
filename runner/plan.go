//go:build linux

package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// specOf is the specification of a container of img, with its user looked up in
// the image's files. Volumes must have absolute sources.
func specOf(ctx context.Context, store *layers.Store, img *layers.Image, o ContainerOptions) (*specs.Spec, error) {
	config, err := ParseConfig(img.Config)
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Hostname == "" && o.UTSNS != "host" {
		o.Hostname = "hod"
	}
	s, err := Spec(config, o)
	if err != nil {
		return nil, err
	}
	view, err := store.View(ctx, img.Chain)
	if err != nil {
		return nil, err
	}
	user, err := LookupUser(func(p string) ([]byte, error) { return readView(view, p) }, s.Process.User.Username, o.GroupAdd)
	if err != nil {
		return nil, err
	}
	SetUser(s, user)
	return s, nil
}

// Sandbox lists the system calls that would start a container of img. Nothing
// is started and no mount is made; upper and work folders are named for show.
func Sandbox(ctx context.Context, store *layers.Store, img *layers.Image, o ContainerOptions) (string, error) {
	s, err := specOf(ctx, store, img, o)
	if err != nil {
		return "", err
	}
	ids, err := newIDMap(&o)
	if err != nil {
		return "", err
	}
	defer ids.close()
	trees, err := store.Trees(ctx, img.Chain)
	if err != nil {
		return "", err
	}
	filter, err := Filter(s)
	if err != nil {
		return "", err
	}
	p, err := sandbox.Compile(sandbox.Options{
		Spec: s, UIDs: sandboxRanges(ids.ranges), GIDs: sandboxRanges(ids.gids), Unprivileged: ids.unprivileged, SameIDs: ids.same, Filter: filter,
		Root: sandbox.Root{Type: "overlay", Lower: trees, Upper: "CONTAINER/upper", Work: "CONTAINER/work"},
		Init: o.Init, Terminal: o.Terminal, Die: true, Time: !o.Privileged, Scope: o.scope(), NoDev: !o.Privileged,
	})
	if err != nil {
		return "", err
	}
	defer p.Close()
	return p.String(), nil
}

// WriteBundle makes an OCI runtime bundle of img in dir, which must not exist:
// config.json, and the image's files in rootfs. Any OCI runtime can run it.
func WriteBundle(ctx context.Context, store *layers.Store, img *layers.Image, o ContainerOptions, dir string) error {
	s, err := specOf(ctx, store, img, o)
	if err != nil {
		return err
	}
	portable(s)
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	root := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	for i := range img.Chain {
		if err := unpackLayer(ctx, store, img.Chain, i, root); err != nil {
			return fmt.Errorf("write bundle: layer %s: %w", img.Chain[i], err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

func unpackLayer(ctx context.Context, store *layers.Store, chain layers.Chain, i int, root string) error {
	options := diff.ApplyOptions{Whiteouts: diff.Delete, SingleID: userns.Here() == userns.Single}
	if i > 0 {
		below, err := store.View(ctx, chain[:i])
		if err != nil {
			return err
		}
		options.Below = below
	}
	tar, err := store.OpenTar(ctx, chain[i])
	if err != nil {
		return err
	}
	defer tar.Close()
	_, err = diff.ApplyPath(ctx, tar, root, options)
	return err
}

// readView reads a small file of an image that has no mount.
func readView(v *diff.View, path string) ([]byte, error) {
	const limit = 16 << 20
	f, err := v.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(text) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return text, err
}
