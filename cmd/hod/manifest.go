package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

func manifestCommand() *cli.Command {
	return &cli.Command{
		Name:  "manifest",
		Usage: "Show manifests, make lists of images for several platforms",
		Subcommands: []*cli.Command{
			{
				Name: "inspect", Usage: "Print a manifest, an index, or a list made here", ArgsUsage: "NAME",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "with descriptors, and each image of an index"},
					&cli.BoolFlag{Name: "raw", Usage: "the bytes as they are"},
					plainHTTP(), insecure(),
				},
				Action: one(manifestInspect),
			},
			{
				Name: "create", Usage: "Make a list of images, to be pushed", ArgsUsage: "LIST IMAGE…",
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "amend", Aliases: []string{"a"}, Usage: "add to the list that there is"}, plainHTTP(), insecure()},
				Action: manifestCreate,
			},
			{
				Name: "annotate", Usage: "Change what a list says of an image", ArgsUsage: "LIST IMAGE",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "os", Usage: "its operating system"}, &cli.StringFlag{Name: "arch", Usage: "its architecture"}, &cli.StringFlag{Name: "variant", Usage: "the variant of the architecture"},
					&cli.StringFlag{Name: "os-version", Usage: "version of the operating system"}, &cli.StringSliceFlag{Name: "os-features", Usage: "what it asks of the operating system"},
					&cli.StringSliceFlag{Name: "annotation", Usage: "annotate its entry"},
				},
				Action: manifestAnnotate,
			},
			{
				Name: "push", Usage: "Send a list, and the images that its repository does not have", ArgsUsage: "LIST",
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "purge", Aliases: []string{"p"}, Usage: "remove the list here when it is pushed"}, plainHTTP(), insecure()},
				Action: one(manifestPush),
			},
			{
				Name: "rm", Usage: "Remove lists made here", ArgsUsage: "LIST…",
				Action: manifestRemove,
			},
		},
	}
}

// insecure is Docker's flag, which names no host: hod wants to know which.
func insecure() cli.Flag {
	return &cli.BoolFlag{Name: "insecure", Usage: "speak to the name's registry without TLS"}
}

// one checks for one argument and opens the store.
func one(fn func(c *cli.Context, s *layers.Store, arg string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := arguments(c, 1, 1); err != nil {
			return err
		}
		return withStore(c, func(s *layers.Store) error { return fn(c, s, c.Args().First()) })
	}
}

func manifestInspect(c *cli.Context, s *layers.Store, name string) error {
	n, err := layers.ParseName(name)
	if err != nil {
		return err
	}
	desc, raw, err := anyManifest(c, s, n)
	if err != nil {
		return registryHint(err, n)
	}
	if c.Bool("verbose") {
		return inspectVerbose(c, n, desc, raw)
	}
	if !c.Bool("raw") {
		if raw, err = indented(raw); err != nil {
			return err
		}
	}
	_, err = c.App.Writer.Write(raw)
	return err
}

// anyManifest looks for a list made here, then in the registry, then in the store.
func anyManifest(c *cli.Context, s *layers.Store, n layers.Name) (ocispec.Descriptor, []byte, error) {
	if _, raw, err := registry.ReadList(s, n.String()); err == nil {
		desc, err := s.ResolveDescriptor(n.String())
		return desc, raw, err
	}
	desc, raw, err := newClient(c).Manifest(c.Context, n.String())
	if err == nil {
		return desc, raw, nil
	}
	local, lerr := s.ResolveDescriptor(n.String())
	if lerr == nil {
		if raw, lerr = s.ReadManifest(local.Digest); lerr == nil {
			if _, lerr = layers.ParseManifest("", raw); lerr == nil {
				return local, raw, nil
			}
		}
	}
	return desc, nil, err
}

func indented(raw []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "\t"); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// verboseManifest is what docker manifest inspect -v prints of an image.
type verboseManifest struct {
	Ref              string
	Descriptor       ocispec.Descriptor
	Raw              []byte
	SchemaV2Manifest json.RawMessage `json:",omitempty"`
	OCIManifest      json.RawMessage `json:",omitempty"`
}

func verbose(n layers.Name, desc ocispec.Descriptor, raw []byte) verboseManifest {
	v := verboseManifest{Ref: n.String(), Descriptor: desc, Raw: raw}
	if desc.MediaType == layers.DockerManifest {
		v.SchemaV2Manifest = raw
	} else {
		v.OCIManifest = raw
	}
	return v
}

func inspectVerbose(c *cli.Context, n layers.Name, desc ocispec.Descriptor, raw []byte) error {
	m, err := layers.ParseManifest(desc.MediaType, raw)
	if err != nil {
		return err
	}
	var what any = verbose(n, desc, raw)
	if m.IsIndex() {
		list := []verboseManifest{}
		client := newClient(c)
		for _, d := range m.Manifests {
			at := n
			at.Digest = d.Digest
			_, child, err := client.Manifest(c.Context, at.String())
			if err != nil {
				return registryHint(err, n)
			}
			list = append(list, verbose(at, d, child))
		}
		what = list
	}
	out, err := json.MarshalIndent(what, "", "\t")
	if err == nil {
		_, err = fmt.Fprintf(c.App.Writer, "%s\n", out)
	}
	return err
}

func manifestCreate(c *cli.Context) error {
	if err := arguments(c, 2, -1); err != nil {
		return err
	}
	return withStore(c, func(s *layers.Store) error {
		n, err := layers.ParseName(c.Args().First())
		if err != nil {
			return err
		}
		list, _, err := registry.ReadList(s, n.String())
		switch {
		case errors.Is(err, layers.ErrNotFound):
			if _, rerr := s.ResolveDescriptor(n.String()); rerr == nil {
				return err // an image's name
			}
			list = &registry.List{}
		case err != nil:
			return err
		case !c.Bool("amend"):
			return withHint(fmt.Errorf("there is a list %s", n.Familiar()), "--amend adds to it, hod manifest rm removes it")
		}
		client := newClient(c)
		for _, image := range c.Args().Slice()[1:] {
			if err := list.Add(c.Context, client, s, image); err != nil {
				return registryHint(err, n)
			}
		}
		if err := list.Write(c.Context, s, n.String()); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.App.Writer, "Created manifest list %s\n", n)
		return err
	})
}

func manifestAnnotate(c *cli.Context) error {
	if err := arguments(c, 2, 2); err != nil {
		return err
	}
	return withStore(c, func(s *layers.Store) error {
		name := c.Args().First()
		list, _, err := registry.ReadList(s, name)
		if err != nil {
			return err
		}
		d, err := list.Find(c.Args().Get(1))
		if err != nil {
			return err
		}
		if err := describeMember(c, d); err != nil {
			return err
		}
		return list.Write(c.Context, s, name)
	})
}

func describeMember(c *cli.Context, d *ocispec.Descriptor) error {
	p := ocispec.Platform{}
	if d.Platform != nil {
		p = *d.Platform
	}
	for flag, into := range map[string]*string{"os": &p.OS, "arch": &p.Architecture, "variant": &p.Variant, "os-version": &p.OSVersion} {
		if c.IsSet(flag) {
			*into = c.String(flag)
		}
	}
	if c.IsSet("os-features") {
		p.OSFeatures = c.StringSlice("os-features")
	}
	d.Platform = &p
	for _, kv := range c.StringSlice("annotation") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return fmt.Errorf("annotation %q: it must be KEY=VALUE", kv)
		}
		d.Annotations[k] = v
	}
	return nil
}

func manifestPush(c *cli.Context, s *layers.Store, name string) error {
	n, err := layers.ParseName(name)
	if err != nil {
		return err
	}
	list, _, err := registry.ReadList(s, n.String())
	if err != nil {
		return withHint(err, "hod manifest create makes a list, hod push sends an image")
	}
	desc, err := list.Push(c.Context, newClient(c), s, n.String())
	if err != nil {
		return registryHint(err, n)
	}
	if c.Bool("purge") {
		if err := s.Untag(c.Context, n.String()); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(c.App.Writer, desc.Digest)
	return err
}

func manifestRemove(c *cli.Context) error {
	if err := arguments(c, 1, -1); err != nil {
		return err
	}
	return withStore(c, func(s *layers.Store) error {
		for _, name := range c.Args().Slice() {
			if _, _, err := registry.ReadList(s, name); err != nil {
				return withHint(err, "hod rmi removes images, hod delete what is in a registry")
			}
			if err := s.Untag(c.Context, name); err != nil {
				return err
			}
		}
		return nil
	})
}
