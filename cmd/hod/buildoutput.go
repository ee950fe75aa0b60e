package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	"github.com/urfave/cli/v2"
)

// buildOutputs reads --output, --push, --load and --annotation.
func buildOutputs(c *cli.Context, s *layers.Store, client *registry.Client, o *builder.Options) error {
	o.Push = func(ctx context.Context, name string) error {
		n, err := layers.ParseName(name)
		if err != nil {
			return err
		}
		_, err = client.Push(ctx, s, name, registry.PushOptions{})
		return pushHint(err, n)
	}
	for _, spec := range c.StringSlice("output") {
		r := outputReader{Output: builder.Output{Stdout: c.App.Writer}}
		if err := r.read(spec); err != nil {
			return err
		}
		if f, ok := c.App.Writer.(*os.File); ok && r.Dest == "-" && isTerminal(f) {
			return withHint(fmt.Errorf("--output %q: an archive is nothing for a terminal", spec), "dest=FILE names a file")
		}
		o.Outputs = append(o.Outputs, r.Output)
	}
	pushOrLoad(c, o)
	for _, text := range c.StringSlice("annotation") {
		list, err := readAnnotation(text)
		if err != nil {
			return fmt.Errorf("--annotation %q: %w", text, err)
		}
		if len(o.Outputs) == 0 {
			o.Outputs = []builder.Output{{Type: "image"}}
		}
		for i := range o.Outputs {
			o.Outputs[i].Annotations = append(o.Outputs[i].Annotations, list...)
		}
	}
	if c.String("iidfile") != "" && len(o.Outputs) > 0 && !slices.ContainsFunc(o.Outputs, builder.Output.IsImage) {
		return errors.New("--iidfile needs an image: add -o type=image")
	}
	return nil
}

// pushOrLoad reads --push, which outputs to the store then do too, and --load.
func pushOrLoad(c *cli.Context, o *builder.Options) {
	isStore := func(out builder.Output) bool { return out.Type == "image" }
	if has := slices.ContainsFunc(o.Outputs, isStore); !has && (c.Bool("push") || c.Bool("load") && len(o.Outputs) > 0) {
		o.Outputs = append(o.Outputs, builder.Output{Type: "image"})
	}
	for i := range o.Outputs {
		if isStore(o.Outputs[i]) {
			o.Outputs[i].Push = o.Outputs[i].Push || c.Bool("push")
			o.Outputs[i].Load = o.Outputs[i].Load || c.Bool("load")
		}
	}
}

// readAnnotation reads [LEVEL[,LEVEL...][[PLATFORM]]:]NAME=VALUE.
func readAnnotation(text string) ([]builder.Annotation, error) {
	name, value, ok := strings.Cut(text, "=")
	where := builder.OnManifest
	if level, rest, has := strings.Cut(name, ":"); has {
		where, name = level, rest
	}
	if !ok || name == "" {
		return nil, errors.New("it is not NAME=VALUE")
	}
	platform := ""
	if levels, rest, has := strings.Cut(where, "["); has {
		p, err := builder.ParsePlatform(strings.TrimSuffix(rest, "]"))
		if err != nil {
			return nil, err
		}
		where, platform = levels, builder.FormatPlatform(p)
	}
	var list []builder.Annotation
	for level := range strings.SplitSeq(where, ",") {
		switch level {
		case builder.OnManifest, builder.OnManifestDescriptor:
		case builder.OnIndex, builder.OnIndexDescriptor:
			if platform != "" {
				return nil, fmt.Errorf("level %s is of all platforms", level)
			}
		default:
			return nil, fmt.Errorf("level %q is not known: use manifest, index, manifest-descriptor or index-descriptor", level)
		}
		list = append(list, builder.Annotation{Level: level, Platform: platform, Name: name, Value: value})
	}
	return list, nil
}

// outputReader reads one --output.
type outputReader struct {
	builder.Output
	tar                string
	compression, level string
}

func (r *outputReader) read(spec string) error {
	switch {
	case spec == "-":
		r.Type, r.Dest = "tar", "-"
		return nil
	case !strings.Contains(spec, "="):
		r.Type, r.Dest = "local", spec
		return nil
	}
	fields, err := csv.NewReader(strings.NewReader(spec)).Read()
	if err != nil {
		return fmt.Errorf("--output %q: %w", spec, err)
	}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return fmt.Errorf("--output %q: %q is not NAME=VALUE", spec, field)
		}
		if err := r.attribute(strings.ToLower(strings.TrimSpace(key)), value); err != nil {
			return fmt.Errorf("--output %q: %w", spec, err)
		}
	}
	return r.finish()
}

// attribute sets one attribute. Those that ask for what hod does anyway are taken, the opposite is refused.
func (r *outputReader) attribute(key, value string) error {
	if rest, ok := strings.CutPrefix(key, "annotation"); ok {
		return r.annotation(rest, value)
	}
	switch key {
	case "type":
		r.Type = value
	case "dest":
		r.Dest = value
	case "name":
		r.Names = strings.Split(value, ",")
	case "tar":
		r.tar = value
	case "compression":
		r.compression = value
	case "compression-level":
		r.level = value
	case "dangling-name-prefix", "unpack-platforms", "attestation-prefix":
		return fmt.Errorf("attribute %q is not supported: give the image a name with -t", key)
	case "source-date-epoch":
		if value != "" {
			return fmt.Errorf("source-date-epoch is not set per output: use --build-arg SOURCE_DATE_EPOCH=%s", value)
		}
	default:
		return r.flag(key, value)
	}
	return nil
}

// annotation reads annotation[-LEVEL][[PLATFORM]].NAME.
func (r *outputReader) annotation(key, value string) error {
	where, name, ok := strings.Cut(key, ".")
	if !ok {
		return fmt.Errorf("annotation%s has no name", key)
	}
	where = strings.TrimPrefix(where, "-")
	if where == "" || strings.HasPrefix(where, "[") {
		where = builder.OnManifest + where
	}
	list, err := readAnnotation(where + ":" + name + "=" + value)
	r.Annotations = append(r.Annotations, list...)
	return err
}

// flag sets an attribute that is true or false.
func (r *outputReader) flag(key, value string) error {
	on, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("attribute %s=%s is neither true nor false", key, value)
	}
	switch key {
	case "platform-split":
		r.Split = &on
	case "push":
		r.Push = on
	case "push-by-digest":
		r.ByDigest = on
	case "name-canonical":
		r.Canonical = on
	case "registry.insecure":
		if on {
			return errors.New("registry.insecure is not set per output: use --plain-http HOST, or give its certificate in certs.d/HOST/hosts.toml")
		}
	case "oci-artifact":
		if !on {
			return errors.New("oci-artifact=false: statements are always OCI artifacts")
		}
	case "oci-mediatypes":
		r.Form.Docker = !on
	case "force-compression":
		r.Form.Force = on
	case "rewrite-timestamp":
		if !on {
			return fmt.Errorf("rewrite-timestamp=false: times are fixed by default; --timestamps=source keeps those of the files")
		}
	case "store", "unpack": // hod's store keeps every image, and unpacks it when it is run
		if !on && key == "store" {
			return fmt.Errorf("store=false is not supported: the store keeps what was built")
		}
		r.Load = r.Load || on && key == "unpack"
	default:
		return fmt.Errorf("attribute %q is not known", key)
	}
	return nil
}

// finish brings the attributes together.
func (r *outputReader) finish() error {
	var err error
	if r.Form.Compression, err = readCompression(r.compression, r.level); err != nil {
		return err
	}
	switch r.Type {
	case "registry":
		r.Type, r.Push = "image", true
	case "docker":
		if r.Dest == "" {
			r.Type, r.Load = "image", true // what docker would load, the store keeps
		}
	}
	if r.tar != "" {
		on, err := strconv.ParseBool(r.tar)
		if err != nil || r.Type != "oci" && r.Type != "docker" {
			return fmt.Errorf("tar=%s does not go with type=%s", r.tar, r.Type)
		}
		r.Folder = !on
	}
	if r.Dest == "" && !r.Folder && (r.Type == "tar" || r.Type == "oci") {
		r.Dest = "-"
	}
	return nil
}
