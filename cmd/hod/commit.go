//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "List what a container changed: A added, C changed, D deleted", ArgsUsage: "CONTAINER",
		Action: func(c *cli.Context) error {
			return withContainer(c, func(s *layers.Store, cs *runner.Containers, name string) error {
				changes, err := cs.Diff(c.Context, s, name)
				for _, one := range changes {
					fmt.Fprintf(c.App.Writer, "%c %s\n", one.Kind, printable(one.Path))
				}
				return err
			})
		},
	}
}

// withContainer calls fn for the one container named, inside of a namespace where its files need one.
func withContainer(c *cli.Context, fn func(s *layers.Store, cs *runner.Containers, name string) error) error {
	if err := arguments(c, 1, 2); err != nil {
		return err
	}
	return withStore(c, func(s *layers.Store) error {
		cs, err := containersOf(s)
		if err != nil {
			return err
		}
		return fn(s, cs, c.Args().First())
	})
}

func commitCommand() *cli.Command {
	return &cli.Command{
		Name: "commit", Usage: "Make an image of a container", ArgsUsage: "CONTAINER [NAME]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "author", Aliases: []string{"a"}, Usage: "who made it"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "a comment in its history"},
			&cli.StringSliceFlag{Name: "change", Aliases: []string{"c"}, Usage: "an instruction such as CMD, ENV or LABEL"},
			&cli.BoolFlag{Name: "pause", Aliases: []string{"p"}, Value: true, Usage: "let it stand still meanwhile"},
		},
		Action: func(c *cli.Context) error {
			return withContainer(c, func(s *layers.Store, cs *runner.Containers, name string) error { return commit(c, s, cs, name) })
		},
	}
}

func commit(c *cli.Context, s *layers.Store, cs *runner.Containers, name string) error {
	found, _, err := cs.Lookup(c.Context, name)
	if err != nil {
		return err
	}
	img, err := imageOf(c, s, cs, found, c.Bool("pause"))
	if err == nil {
		img, err = s.PutImage(c.Context, img.Config, img.Chain, layers.PutImageOptions{Built: time.Now()})
	}
	if err != nil {
		return err
	}
	if lines := c.StringSlice("change"); len(lines) > 0 {
		if img, err = change(c, s, img, lines); err != nil {
			return err
		}
	}
	if to := c.Args().Get(1); to != "" {
		if err := s.Tag(c.Context, to, descriptorOf(img)); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(c.App.Writer, img.ID)
	return err
}

// imageOf is the image of a container with what it wrote, which is in no store yet but for its layers.
func imageOf(c *cli.Context, s *layers.Store, cs *runner.Containers, found *runner.Container, pause bool) (*layers.Image, error) {
	base, err := s.Resolve(found.ImageID, nil)
	if err != nil {
		return nil, err
	}
	info, err := cs.Changes(c.Context, s, found.ID, pause)
	if err != nil {
		return nil, err
	}
	img := *base
	if info.DiffID != "" {
		img.Chain = append(slices.Clone(base.Chain), info.DiffID)
	}
	img.Config, err = commitConfig(c, base.Config, found, info)
	return &img, err
}

// commitConfig is the image's configuration with the layer and the container's own settings; fields that nobody here
// knows stay.
func commitConfig(c *cli.Context, raw []byte, found *runner.Container, info layers.LayerInfo) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("read image config: %w", err)
	}
	var rootfs ocispec.RootFS
	var history []json.RawMessage
	var config map[string]any
	for key, into := range map[string]any{"rootfs": &rootfs, "history": &history, "config": &config} {
		if text, ok := all[key]; ok {
			if err := json.Unmarshal(text, into); err != nil {
				return nil, fmt.Errorf("read image config: %s: %w", key, err)
			}
		}
	}
	rootfs.Type = "layers"
	if info.DiffID != "" {
		rootfs.DiffIDs = append(rootfs.DiffIDs, info.DiffID)
	}
	if config == nil {
		config = map[string]any{}
	}
	containerConfig(config, found)
	line, err := json.Marshal(map[string]any{
		"created": "1980-01-01T00:00:00Z", "created_by": strings.Join(append([]string{found.Path}, found.Args...), " "),
		"author": c.String("author"), "comment": c.String("message"), "empty_layer": info.DiffID == "",
	})
	if err != nil {
		return nil, err
	}
	for key, value := range map[string]any{"rootfs": rootfs, "history": append(history, line), "config": config} {
		if all[key], err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	if a := c.String("author"); a != "" {
		if all["author"], err = json.Marshal(a); err != nil {
			return nil, err
		}
	}
	return json.Marshal(all)
}

// containerConfig puts what run was told into an image's configuration, as docker does.
func containerConfig(config map[string]any, found *runner.Container) {
	o := found.Options
	if o.EntrypointSet {
		config["Entrypoint"], config["Cmd"] = o.Entrypoint, nil
	}
	if len(o.Args) > 0 {
		config["Cmd"] = o.Args
	}
	if o.User != "" {
		config["User"] = o.User
	}
	if o.WorkingDir != "" {
		config["WorkingDir"] = o.WorkingDir
	}
	if len(o.Env) > 0 {
		config["Env"] = runner.MergeEnv(found.Config.Env, o.Env)
	}
	if len(o.Labels) > 0 {
		config["Labels"] = found.Labels()
	}
}

// exportContainer writes the files of a container as a tar, as docker export does: without what is mounted there. One
// that runs is exported as the image that commit would make.
func exportContainer(c *cli.Context, s *layers.Store, cs *runner.Containers, name string) error {
	found, state, err := cs.Lookup(c.Context, name)
	if err != nil {
		return err
	}
	if state.Running() {
		if err := enterForOwners(c, nil); err != nil {
			return err
		}
		img, err := imageOf(c, s, cs, found, false)
		if err != nil {
			return err
		}
		return exportTree(c, s, img)
	}
	if err := enterForFiles(c, cs, name); err != nil {
		return err
	}
	files, err := cs.Files(c.Context, s, name, false)
	if err != nil {
		return err
	}
	defer files.Close()
	return toFile(c, c.String("output"), func(w io.Writer) error {
		return files.ReadTar("/.", ".", w, runner.CopyOptions{Owners: true})
	})
}
