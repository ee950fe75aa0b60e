package main

import (
	"bytes"
	"encoding/json"
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
		open, done, err := reopenable(c.Args().First(), c.App.Reader)
		if err != nil {
			return err
		}
		defer done()
		layer, err := s.IngestFile(c.Context, open, "")
		if err != nil {
			return withHint(err, "hod import takes a tar of files, plain or compressed by gzip or zstd")
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

// reopenable gives a file that can be read twice; what comes only once, as
// standard input and pipes do, is put aside.
func reopenable(name string, stdin io.Reader) (open func() (io.ReadCloser, error), done func(), err error) {
	if name != "-" {
		if st, err := os.Stat(name); err != nil || st.Mode().IsRegular() {
			return func() (io.ReadCloser, error) { return os.Open(name) }, func() {}, err
		}
		pipe, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		defer pipe.Close()
		stdin = pipe
	}
	f, err := os.CreateTemp("", "hod-import-")
	if err != nil {
		return nil, nil, err
	}
	os.Remove(f.Name())
	size, err := io.Copy(f, stdin)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	return func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(f, 0, size)), nil
	}, func() { f.Close() }, nil
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
