package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

func buildCommand() *cli.Command {
	return &cli.Command{
		Name:      "build",
		Usage:     "Build an image from a recipe (Dockerfile)",
		ArgsUsage: "PATH|URL|-",
		Flags:     buildFlags(),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			if err := errors.Join(refuseDockers(c), setResources(c)); err != nil {
				return err
			}
			if err := enterForBuild(c, c.Args().First()); err != nil {
				return err
			}
			return withStore(c, func(s *layers.Store) error { return excerpt(c, build(c, s)) })
		},
	}
}

// excerpt prints the line of the recipe that an error is about.
func excerpt(c *cli.Context, err error) error {
	var e *builder.RecipeError
	if errors.As(err, &e) && !errors.Is(err, context.Canceled) {
		fmt.Fprint(c.App.ErrWriter, printable(e.Excerpt()))
	}
	return err
}

func build(c *cli.Context, s *layers.Store) error {
	call, err := callOf(c)
	if err != nil {
		return err
	}
	v, err := buildView(c, "building "+cmp.Or(strings.Join(c.StringSlice("tag"), ", "), c.Args().First()))
	if err != nil {
		return err
	}
	defer v.Close()
	o, err := buildOptions(c, s, shownClient(c, v))
	if err != nil {
		return err
	}
	if call.name != "build" {
		return call.do(c, o)
	}
	if err := onFailure(c, v, &o); err != nil {
		return err
	}
	o.Planned = enterForTriggers(c, v)
	res, err := shownBuild(c, s, v, o)
	if err != nil {
		return err
	}
	return printBuild(c, o, res)
}

// buildOptions reads the flags.
func buildOptions(c *cli.Context, s *layers.Store, client *registry.Client) (builder.Options, error) {
	o := builder.Options{Store: s, Images: newImageSource(s, client), Context: c.Args().First(), File: c.String("file"), Stdin: c.App.Reader,
		Target: c.String("target"), Tags: c.StringSlice("tag"), Pull: c.Bool("pull"), Jobs: c.Int("jobs"),
		NoCache: c.Bool("no-cache"), Squash: c.Bool("squash"), RebuildCheck: c.Bool("rebuild-check"), Explain: c.Bool("explain"), Args: map[string]string{}}
	var err error
	for _, list := range c.StringSlice("no-cache-filter") {
		o.NoCacheFor = append(o.NoCacheFor, strings.Split(list, ",")...)
	}
	for _, arg := range c.StringSlice("build-arg") {
		name, value, ok := strings.Cut(arg, "=")
		if name == "" {
			return o, fmt.Errorf("--build-arg %q is not NAME=VALUE", arg)
		}
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				continue // as Docker: not given
			}
		}
		o.Args[name] = value
	}
	if name := c.String("hostname"); name != "" && o.Args["BUILDKIT_SANDBOX_HOSTNAME"] == "" {
		o.Args["BUILDKIT_SANDBOX_HOSTNAME"] = name
	}
	if o.Labels, err = pairs("label", c.StringSlice("label")); err != nil {
		return o, err
	}
	if o.Contexts, err = pairs("build-context", c.StringSlice("build-context")); err != nil {
		return o, err
	}
	for _, list := range c.StringSlice("platform") {
		for word := range strings.SplitSeq(list, ",") {
			p, err := builder.ParsePlatform(word)
			if err != nil {
				return o, err
			}
			if !slices.ContainsFunc(o.Platforms, func(have ocispec.Platform) bool { return reflect.DeepEqual(have, p) }) {
				o.Platforms = append(o.Platforms, p)
			}
		}
	}
	if err := asIndex(&o); err != nil {
		return o, err
	}
	if err := buildOutputs(c, s, client, &o); err != nil {
		return o, err
	}
	if o.Attest, err = buildAttest(c); err != nil {
		return o, err
	}
	if err := buildCaches(c, s, client, &o); err != nil {
		return o, err
	}
	if o.Run, err = buildRunOptions(c); err != nil {
		return o, err
	}
	return o, timestamps(c, &o)
}

// asIndex reads BUILDKIT_MULTI_PLATFORM, which asks for an index of one platform too.
func asIndex(o *builder.Options) (err error) {
	v := o.Args["BUILDKIT_MULTI_PLATFORM"]
	if v == "" {
		return nil
	}
	if o.Index, err = strconv.ParseBool(v); err != nil {
		return fmt.Errorf("BUILDKIT_MULTI_PLATFORM=%s is neither true nor false", v)
	}
	if !o.Index && len(o.Platforms) > 1 {
		return errors.New("BUILDKIT_MULTI_PLATFORM=false: several platforms make an index")
	}
	return nil
}

// timestamps reads --timestamps, and SOURCE_DATE_EPOCH of the environment as the build argument of that name.
func timestamps(c *cli.Context, o *builder.Options) error {
	if epoch, ok := os.LookupEnv("SOURCE_DATE_EPOCH"); ok && epoch != "" {
		if _, given := o.Args["SOURCE_DATE_EPOCH"]; !given {
			o.Args["SOURCE_DATE_EPOCH"] = epoch
		}
	}
	switch v := c.String("timestamps"); v {
	case "":
	case "source":
		o.KeepTimes = true
	default:
		if _, err := strconv.ParseInt(v, 10, 64); err != nil {
			return fmt.Errorf(`--timestamps %q is neither "source" nor a number of seconds`, v)
		}
		o.Args["SOURCE_DATE_EPOCH"] = v
	}
	return nil
}

// pairs reads NAME=VALUE flags.
func pairs(flag string, list []string) (map[string]string, error) {
	set := map[string]string{}
	for _, word := range list {
		name, value, ok := strings.Cut(word, "=")
		if name == "" || !ok && flag != "label" {
			return nil, fmt.Errorf("--%s %q is not NAME=VALUE", flag, word)
		}
		set[name] = value
	}
	return set, nil
}
