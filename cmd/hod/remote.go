package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

// remoteVerbs look at and remove what is in registries.
func remoteVerbs() []*cli.Command {
	return []*cli.Command{
		{
			Name: "catalog", Usage: "List the repositories of a registry", ArgsUsage: "REGISTRY", Flags: []cli.Flag{plainHTTP()},
			Action: onRegistry(func(c *cli.Context, arg string) error {
				repos, err := newClient(c).Repositories(c.Context, arg)
				return printWords(c.App.Writer, repos, registryHint(err, layers.Name{Registry: arg}))
			}),
		},
		{
			Name: "digest", Usage: "Print the digest that a name in a registry has now", ArgsUsage: "NAME",
			Flags: []cli.Flag{platformFlag(), plainHTTP()}, Action: onRegistry(remoteDigest),
		},
		{
			Name: "config", Usage: "Print the config of an image in a registry", ArgsUsage: "NAME",
			Flags: []cli.Flag{platformFlag(), plainHTTP()}, Action: onRegistry(remoteConfig),
		},
		{
			Name: "blob", Usage: "Write a blob of a repository", ArgsUsage: "REPOSITORY@DIGEST",
			Flags: []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write this file; standard output if left out"}, plainHTTP()},
			Action: onRegistry(func(c *cli.Context, arg string) error {
				return hinted(arg, toFile(c, c.String("output"), func(w io.Writer) error { return newClient(c).CopyBlob(c.Context, w, arg) }))
			}),
		},
		{
			Name: "referrers", Usage: "List the signatures, attestations and other referrers of an image", ArgsUsage: "NAME",
			Flags: []cli.Flag{plainHTTP()}, Action: onRegistry(remoteReferrers),
		},
		{
			Name: "delete", Usage: "Remove a tag, or by digest a manifest, from a registry", ArgsUsage: "NAME…",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "manifest", Usage: "remove the manifest that the tag names, and so all its tags"},
				&cli.BoolFlag{Name: "blob", Usage: "remove the blob NAME@DIGEST"}, plainHTTP(),
			},
			Action: remoteDelete,
		},
	}
}

func platformFlag() cli.Flag {
	return &cli.StringFlag{Name: "platform", Usage: "os/architecture[/variant] of an image of many"}
}

func onRegistry(fn func(c *cli.Context, arg string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := arguments(c, 1, 1); err != nil {
			return err
		}
		return fn(c, c.Args().First())
	}
}

// hinted says what to do about the refusals of a name's registry.
func hinted(name string, err error) error {
	n, perr := layers.ParseName(name)
	if err == nil || perr != nil {
		return err
	}
	return registryHint(err, n)
}

func printWords(w io.Writer, lines []string, err error) error {
	for _, l := range lines {
		fmt.Fprintln(w, printable(l))
	}
	return err
}

func remoteDigest(c *cli.Context, name string) error {
	p, err := parsePlatform(c.String("platform"))
	if err != nil {
		return err
	}
	d, err := digestOf(c, name, p)
	if err != nil {
		return hinted(name, err)
	}
	_, err = fmt.Fprintln(c.App.Writer, d)
	return err
}

// digestOf is what a name means, or its image for a platform.
func digestOf(c *cli.Context, name string, p *ocispec.Platform) (digest.Digest, error) {
	client := newClient(c)
	if p == nil {
		return client.Digest(c.Context, name)
	}
	r, err := client.Resolve(c.Context, name, p)
	if err != nil {
		return "", err
	}
	return r.Desc.Digest, nil
}

func remoteConfig(c *cli.Context, name string) error {
	p, err := parsePlatform(c.String("platform"))
	if err != nil {
		return err
	}
	r, err := newClient(c).Resolve(c.Context, name, p)
	if err != nil {
		return hinted(name, err)
	}
	_, err = c.App.Writer.Write(append(r.Config, '\n'))
	return err
}

func remoteReferrers(c *cli.Context, name string) error {
	list, err := newClient(c).Referrers(c.Context, name)
	if err != nil {
		return hinted(name, err)
	}
	out, err := json.MarshalIndent(list, "", "  ")
	if err == nil && list == nil {
		out = []byte("[]")
	}
	if err == nil {
		_, err = fmt.Fprintf(c.App.Writer, "%s\n", out)
	}
	return err
}

func remoteDelete(c *cli.Context) error {
	if err := arguments(c, 1, -1); err != nil {
		return err
	}
	client := newClient(c)
	for _, name := range c.Args().Slice() {
		n, err := layers.ParseName(name)
		if err != nil {
			return err
		}
		switch {
		case c.Bool("blob") && n.Digest == "":
			err = withHint(errors.New("delete --blob: the name has no digest"), "REPOSITORY@sha256:…")
		case c.Bool("blob"):
			err = client.DeleteBlob(c.Context, name)
		case c.Bool("manifest") && n.Digest == "":
			err = client.DeleteManifest(c.Context, name)
		default:
			err = client.Delete(c.Context, name)
		}
		if err != nil {
			return registryHint(err, n)
		}
		fmt.Fprintf(c.App.Writer, "Deleted: %s\n", n.Familiar())
	}
	return nil
}
