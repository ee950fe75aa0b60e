package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "Make an image of a tar of files",
		ArgsUsage: "FILE|- [NAME]",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "change", Aliases: []string{"c"}, Usage: `apply an instruction of a recipe, such as 'CMD ["sh"]'`},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "the comment in the image's history"},
			&cli.StringFlag{Name: "platform", Usage: "os/architecture[/variant] that the files are for"},
		},
		Action: importFiles,
	}
}

func importFiles(c *cli.Context) error {
	if err := arguments(c, 1, 2); err != nil {
		return err
	}
	return withStore(c, func(s *layers.Store) error {
		layer, err := importLayer(c, s, c.Args().First())
		if err != nil {
			return err
		}
		img, err := imported(c, layer.DiffID)
		if err != nil {
			return err
		}
		if changes := c.StringSlice("change"); len(changes) > 0 {
			img, err = change(c, s, img, changes)
		} else {
			img, err = s.PutImage(c.Context, img.Config, img.Chain, layers.PutImageOptions{Source: "import"})
		}
		if err != nil {
			return err
		}
		if name := c.Args().Get(1); name != "" {
			if err := s.Tag(c.Context, name, descriptorOf(img)); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintln(c.App.Writer, img.ID)
		return err
	})
}

// importLayer reads a file, a pipe or standard input once, to its end.
func importLayer(c *cli.Context, s *layers.Store, name string) (layers.LayerInfo, error) {
	var in io.Reader = c.App.Reader
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return layers.LayerInfo{}, fmt.Errorf("import: %w", err)
		}
		defer f.Close()
		if st, err := f.Stat(); err == nil && st.IsDir() {
			return layers.LayerInfo{}, withHint(fmt.Errorf("import %q: it is a folder", name), "tar -C FOLDER -c . | hod import - NAME makes an image of it")
		}
		in = f
	}
	layer, err := s.IngestStream(c.Context, in, "")
	if errors.Is(err, tar.ErrHeader) {
		err = withHint(fmt.Errorf("import %q: it is no tar: %w", name, err), "hod import takes a tar of files, plain or compressed by gzip, zstd, bzip2 or xz; hod load takes what save wrote")
	} else if err != nil {
		err = fmt.Errorf("import %q: %w", name, err)
	}
	return layer, err
}

// importedAt is the time of imported images: the same files are the same image.
const importedAt = "1980-01-01T00:00:00Z"

// imported is an image of one layer, with no more in its config than is known, which is in no store yet.
func imported(c *cli.Context, diffID digest.Digest) (*layers.Image, error) {
	platform := layers.HostPlatform()
	if p, err := parsePlatform(c.String("platform")); err != nil {
		return nil, err
	} else if p != nil {
		platform = *p
	}
	config := map[string]any{
		"architecture": platform.Architecture, "os": platform.OS, "created": importedAt, "config": map[string]any{},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []digest.Digest{diffID}},
		"history": []map[string]any{{"created": importedAt, "comment": c.String("message")}},
	}
	if platform.Variant != "" {
		config["variant"] = platform.Variant
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	return &layers.Image{ID: digest.FromBytes(raw), Config: raw, Chain: layers.Chain{diffID}, Platform: platform}, nil
}

// changeable are the instructions that change an image's config alone.
var changeable = []string{"CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}

// change applies instructions by building a recipe of them.
func change(c *cli.Context, s *layers.Store, img *layers.Image, changes []string) (*layers.Image, error) {
	var recipe bytes.Buffer
	fmt.Fprintln(&recipe, "FROM base")
	for _, line := range changes {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !containsFold(changeable, word) || strings.ContainsAny(line, "\n\r") {
			return nil, withHint(fmt.Errorf("--change %q cannot be applied", line), "there are "+strings.Join(changeable, ", "))
		}
		fmt.Fprintln(&recipe, line)
	}
	res, err := builder.Build(c.Context, builder.Options{
		Store: s, Images: pinned{img}, Context: "-", Stdin: &recipe,
		Platforms: []ocispec.Platform{img.Platform},
	})
	if err != nil {
		return nil, err
	}
	return res.Images[0].Image, nil
}

func containsFold(list []string, word string) bool {
	for _, w := range list {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}
