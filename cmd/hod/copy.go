package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

func copyCommand() *cli.Command {
	return &cli.Command{
		Name:      "copy",
		Usage:     "Copy an image between registries, layouts, archives and the store",
		ArgsUsage: "FROM TO",
		Description: "FROM and TO are NAME (in a registry), oci:FOLDER[:TAG], oci-archive:FILE[:TAG],\n" +
			"docker-archive:FILE[:NAME] or store:NAME. An image goes with all its platforms\n" +
			"and with its signatures and attestations, byte for byte. Between registries\n" +
			"nothing is stored here.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "platform", Usage: "only these: os/architecture[/variant], with commas between several"},
			&cli.BoolFlag{Name: "all-tags", Aliases: []string{"a"}, Usage: "copy every tag of a repository or layout; FROM and TO carry no tag"},
			&cli.BoolFlag{Name: "no-referrers", Usage: "leave out signatures and attestations"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only digests"},
			progressFlag(),
			plainHTTP(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 2, 2); err != nil {
				return err
			}
			return withStore(c, func(s *layers.Store) error { return copyImages(c, s) })
		},
	}
}

func copyImages(c *cli.Context, s *layers.Store) error {
	platforms, err := parsePlatforms(c.String("platform"))
	if err != nil {
		return err
	}
	o := registry.CopyOptions{Platforms: platforms, NoReferrers: c.Bool("no-referrers")}
	if c.Bool("all-tags") {
		return copyTags(c, s, o)
	}
	from, err := registry.ParsePlace(c.Args().Get(0))
	if err != nil {
		return err
	}
	to, err := registry.ParsePlace(c.Args().Get(1))
	if err != nil {
		return err
	}
	return copyOne(c, s, from, to, o)
}

func copyOne(c *cli.Context, s *layers.Store, from, to registry.Place, o registry.CopyOptions) error {
	t, err := newTransfer(c, "copying "+from.String())
	if err != nil {
		return err
	}
	desc, err := t.client.Copy(c.Context, s, from, to, o)
	t.view.Close()
	if err != nil {
		if _, here := s.ResolveDescriptor(from.Name); here == nil && from.Kind == "registry" && to.Kind != "registry" {
			return withHint(err, fmt.Sprintf("a name alone is a registry's: store:%s is the image that is here", from.Name))
		}
		return copyHint(err, from, to)
	}
	if c.Bool("quiet") {
		_, err = fmt.Fprintln(c.App.Writer, desc.Digest)
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: digest: %s size: %d\n", to, desc.Digest, desc.Size)
	return err
}

func copyHint(err error, places ...registry.Place) error {
	said := err.Error()
	var status *registry.StatusError
	if errors.As(err, &status) { // the text before names both places
		said = status.URL
	}
	for _, p := range places {
		if n, perr := layers.ParseName(p.Name); perr == nil && p.Kind == "registry" && strings.Contains(said, n.Registry) {
			return registryHint(err, n)
		}
	}
	return err
}

// copyTags copies a whole repository, or all that has a name in a layout.
func copyTags(c *cli.Context, s *layers.Store, o registry.CopyOptions) error {
	from, err := wholePlace(c.Args().Get(0))
	if err != nil {
		return err
	}
	to, err := wholePlace(c.Args().Get(1))
	if err != nil {
		return err
	}
	if to.Kind != "registry" && to.Kind != "oci" {
		return withHint(fmt.Errorf("--all-tags into %q", c.Args().Get(1)), "the tags go into a registry or into oci:FOLDER")
	}
	tags, err := newClient(c).TagsOf(c.Context, from)
	if err != nil {
		return copyHint(err, from)
	}
	for _, tag := range tags {
		if err := copyOne(c, s, from.Tagged(tag), to.Tagged(tag), o); err != nil {
			return err
		}
	}
	return nil
}

// wholePlace reads a place that names no tag.
func wholePlace(s string) (registry.Place, error) {
	p, err := registry.ParsePlace(s)
	if err != nil {
		return p, err
	}
	if p.Kind == "registry" {
		_, err = repository(strings.TrimPrefix(s, "docker://"))
		return p, err
	}
	if p.Name != "" {
		return p, withHint(fmt.Errorf("--all-tags with the one name %q", p.Name), "leave it out")
	}
	return p, nil
}

// repository reads a name that has no tag and no digest.
func repository(s string) (layers.Name, error) {
	n, err := layers.ParseName(s)
	if err != nil {
		return n, err
	}
	if n.Digest != "" || strings.HasSuffix(s, ":"+n.Tag) {
		return n, withHint(fmt.Errorf("--all-tags with the one tag or digest of %q", s), "leave the tag out")
	}
	return n, nil
}

// parsePlatforms reads platforms with commas between; empty and "all" are none.
func parsePlatforms(s string) ([]ocispec.Platform, error) {
	if s == "" || s == "all" {
		return nil, nil
	}
	var list []ocispec.Platform
	for part := range strings.SplitSeq(s, ",") {
		p, err := parsePlatform(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if p == nil {
			return nil, fmt.Errorf("platform list %q has an empty part", s)
		}
		list = append(list, *p)
	}
	return list, nil
}
